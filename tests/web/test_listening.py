"""Sockets that are listened at, with real files and real neighbours."""

from __future__ import annotations

import os
import socket
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from forwarder.errors import ExposedError, ListenError
from forwarder.model import Address
from forwarder.web.listening import Listener, adopt, group_id, listen
from forwarder.web.reach import Reach


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "s.sock"


def unix(path: Path) -> Address:
    return Address(path=str(path))


def refusal(address: Address) -> ListenError:
    """Try to listen where it is not possible."""
    with pytest.raises(ListenError) as caught:
        listen(address)
    assert caught.value.message.startswith(f"cannot listen at {address}: ")
    assert caught.value.hint
    return caught.value


def connects(path: Path) -> bool:
    """Say whether somebody listens at a path."""
    with socket.socket(socket.AF_UNIX) as client:
        return client.connect_ex(str(path)) == 0


class TestUnix:
    @pytest.mark.parametrize("mode", [0o600, 0o660, 0o666])
    def test_mode(self, path: Path, mode: int) -> None:
        """The socket's file has the configured mode, whatever the umask."""
        mask = os.umask(0o077)
        try:
            listener = listen(unix(path), mode=mode)
        finally:
            os.umask(mask)
        assert stat.S_IMODE(path.stat().st_mode) == mode
        assert connects(path)
        listener.close()

    def test_nobody_connects_before_the_mode_is_set(self, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """While the file has not got its mode yet, nobody listens behind it."""
        seen: list[bool] = []
        monkeypatch.setattr(Path, "chmod", lambda self, mode: seen.append(connects(self)))
        listen(unix(path)).close()
        assert seen == [False]

    def test_close_removes_the_file(self, path: Path) -> None:
        """A listener that is closed leaves no file behind; closing twice, or after the file went, is no error."""
        listener = listen(unix(path))
        listener.close()
        assert not path.exists()
        listener.close()

    def test_close_leaves_the_file_of_another(self, path: Path) -> None:
        """A file that has taken the place of ours is not ours to remove."""
        listener = listen(unix(path))
        path.rename(path.with_suffix(".old"))
        other = listen(unix(path))
        listener.close()
        assert connects(path)
        other.close()

    def test_a_stale_socket_is_replaced(self, path: Path) -> None:
        """A socket that a crash left behind is replaced."""
        with socket.socket(socket.AF_UNIX) as crashed:
            crashed.bind(str(path))
        listener = listen(unix(path))
        assert connects(path)
        listener.close()

    def test_a_live_socket_is_left_alone(self, path: Path) -> None:
        """A socket at which another process listens is refused and goes on to work."""
        with socket.socket(socket.AF_UNIX) as other:
            other.bind(str(path))
            other.listen(1)
            assert "another process listens there" in refusal(unix(path)).message
            assert connects(path)

    def test_a_busy_socket_is_left_alone(self, path: Path) -> None:
        """A neighbour that does not get round to accepting connections is alive all the same."""
        with socket.socket(socket.AF_UNIX) as other, socket.socket(socket.AF_UNIX) as waiting:
            other.bind(str(path))
            other.listen(0)
            waiting.connect(str(path))
            assert "another process listens there" in refusal(unix(path)).message

    def test_a_datagram_socket_is_left_alone(self, path: Path) -> None:
        """A neighbour that speaks datagrams is alive, too."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as other:
            other.bind(str(path))
            assert "another process listens there" in refusal(unix(path)).message

    @pytest.mark.parametrize("kind", ["file", "folder", "link"])
    def test_what_is_no_socket_is_left_alone(self, path: Path, kind: str) -> None:
        """A file, a folder or a link of that name is somebody's and stays."""
        match kind:
            case "file":
                path.write_text("precious")
            case "folder":
                path.mkdir()
            case _:
                path.symlink_to("nowhere")
        error = refusal(unix(path))
        assert error.message.endswith(": there is a file of that name")
        assert str(path) in error.hint
        assert os.path.lexists(path)

    def test_a_missing_folder(self, tmp_path: Path) -> None:
        """Where the folder is missing, the hint is the command that makes it."""
        error = refusal(unix(tmp_path / "no" / "s.sock"))
        assert error.hint == f"create the folder: mkdir -p {tmp_path / 'no'}"

    def test_a_path_that_is_too_long(self, tmp_path: Path) -> None:
        """Paths of sockets are short; the hint says how short."""
        error = refusal(unix(tmp_path / ("x" * 120)))
        assert error.message.endswith("the path is too long for a socket")
        assert "at most 107 bytes" in error.hint

    def test_a_file_that_cannot_get_its_mode(self, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Where listening fails half-way, no file stays behind."""

        def chmod(self: Path, mode: int) -> None:
            raise PermissionError(1, "Operation not permitted")

        monkeypatch.setattr(Path, "chmod", chmod)
        refusal(unix(path))
        assert not path.exists()

    @pytest.mark.skipif(os.getuid() != 0, reason="needs root, to be a member of any group")
    def test_group(self, path: Path) -> None:
        """The socket's file has the configured group, can get another one, and its own one back."""
        listener = listen(unix(path), mode=0o660, gid=54321)
        assert (path.stat().st_gid, stat.S_IMODE(path.stat().st_mode)) == (54321, 0o660)
        listener.open_to(0o620, 54322)
        assert (path.stat().st_gid, stat.S_IMODE(path.stat().st_mode)) == (54322, 0o620)
        listener.open_to(0o600, None)
        assert (path.stat().st_gid, stat.S_IMODE(path.stat().st_mode)) == (os.getgid(), 0o600)
        listener.close()

    @pytest.mark.skipif(os.getuid() != 0, reason="needs root, to become somebody else")
    def test_a_group_that_is_not_ours(self, tmp_path: Path) -> None:
        """A group of which the user is no member is refused with how to become one, and no file stays behind."""
        tmp_path.chmod(0o777)
        code = (
            "import os, sys; sys.path[:] = sys.argv[2:]\n"
            "from forwarder.errors import ListenError\n"
            "from forwarder.web.listening import listen\n"
            "from forwarder.model import Address\n"
            "os.chdir(sys.argv[1]); os.setgroups([54321]); os.setgid(65534); os.setuid(65534)\n"
            "print(os.stat(listen(Address(path='a.sock'), gid=54321).address.path).st_gid)\n"
            "try: listen(Address(path='b.sock'), gid=0)\n"
            "except ListenError as error: print(error.message, '|', error.hint)\n"
        )
        words = [sys.executable, "-c", code, str(tmp_path), *sys.path]
        given, refused = subprocess.run(words, capture_output=True, text=True, check=True).stdout.splitlines()
        assert given == "54321"
        assert refused.startswith("cannot listen at unix:b.sock: it cannot be given to the group 0")
        assert "SupplementaryGroups=0" in refused
        assert not (tmp_path / "b.sock").exists()

    def test_a_file_in_the_place_of_ours(self, path: Path) -> None:
        """A file that has taken the place of ours keeps its mode."""
        listener = listen(unix(path), mode=0o600)
        path.rename(path.with_suffix(".old"))
        path.touch(mode=0o600)
        listener.open_to(0o666, None)
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        path.unlink()
        listener.open_to(0o666, None)
        listener.close()

    def test_a_stale_socket_that_goes_away(self, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """A stale socket that somebody else removes at the same moment is no obstacle."""
        with socket.socket(socket.AF_UNIX) as crashed:
            crashed.bind(str(path))
        lstat = Path.lstat

        def look_and_lose(self: Path) -> os.stat_result:
            found = lstat(self)
            monkeypatch.undo()
            self.unlink()
            return found

        monkeypatch.setattr(Path, "lstat", look_and_lose)
        listener = listen(unix(path))
        assert connects(path)
        listener.close()

    @pytest.mark.skipif(os.getuid() != 0, reason="needs root, to become somebody else")
    def test_without_permission(self, tmp_path: Path, path: Path) -> None:
        """An unprivileged process is told which folder it cannot write to, and whose socket it may not use."""
        with socket.socket(socket.AF_UNIX) as other:
            other.bind(str(path))
        path.chmod(0o600)
        # A folder that everybody may enter, above it as well.
        code = (
            "import os, sys; sys.path[:] = sys.argv[3:]\n"
            "from forwarder.errors import ListenError\n"
            "from forwarder.web.listening import listen\n"
            "from forwarder.model import Address\n"
            "os.chdir(sys.argv[1]); os.setuid(65534)\n"
            "for name in ('new.sock', 's.sock'):\n"
            "    try: listen(Address(path=name))\n"
            "    except ListenError as error: print(error.message, '|', error.hint)\n"
        )
        tmp_path.chmod(0o755)
        done = subprocess.run(
            [sys.executable, "-c", code, str(tmp_path), "-", *sys.path], capture_output=True, text=True, check=True
        )
        folder, theirs = done.stdout.splitlines()
        assert folder.startswith(
            "cannot listen at unix:new.sock: Permission denied | let this user (uid 65534) write to"
        )
        assert "a socket of that name that this user may not use | see whose it is: ls -l s.sock" in theirs


class TestTcp:
    def test_port_zero(self) -> None:
        """Port 0 is a free one, and the listener's address has its number."""
        listener = listen(Address(host="127.0.0.1", port=0))
        assert listener.address.port
        with socket.create_connection(("127.0.0.1", listener.address.port)):
            pass
        listener.close()

    def test_a_port_in_use(self) -> None:
        """A port that is taken is refused with the command that says by whom."""
        with socket.create_server(("127.0.0.1", 0)) as other:
            port = other.getsockname()[1]
            assert refusal(Address(host="127.0.0.1", port=port)).hint.endswith(f"ss -ltnp 'sport = :{port}'")

    def test_a_port_that_was_in_use(self) -> None:
        """After a restart the port can be listened at again, though old connections linger."""
        listener = listen(Address(host="127.0.0.1", port=0))
        assert listener.address.port
        with socket.create_connection(("127.0.0.1", listener.address.port)):
            listener.socket.setblocking(True)
            listener.socket.accept()[0].close()
            listener.close()
        listen(listener.address).close()

    def test_a_port_for_root(self) -> None:
        """A low port that this user may not have is refused with what it would take."""
        code = (
            "import os, sys; sys.path[:] = sys.argv[1:]\n"
            "import encodings.idna\n"
            "from forwarder.errors import ListenError\n"
            "from forwarder.web.listening import listen\n"
            "from forwarder.model import Address\n"
            "if os.getuid() == 0: os.setuid(65534)\n"
            "try: listen(Address(host='127.0.0.1', port=1)).close()\n"
            "except ListenError as error: print(error.hint)\n"
        )
        done = subprocess.run([sys.executable, "-c", code, *sys.path], capture_output=True, text=True, check=True)
        # Some systems let everybody listen at low ports.
        assert done.stdout in {"", "ports below 1024 need CAP_NET_BIND_SERVICE; choose a higher one\n"}

    @pytest.mark.parametrize("host", ["no-such-host.invalid", "192.0.2.1", "x" * 70])
    def test_a_host_that_is_not_here(self, host: str) -> None:
        """A host that is unknown, or not this machine, is refused with a hint."""
        assert "ip address" in refusal(Address(host=host, port=7710)).hint


class TestExposed:
    @pytest.mark.parametrize("host", ["0.0.0.0", "::", "::ffff:0.0.0.0"])
    def test_without_a_token(self, host: str) -> None:
        """What other machines can reach is listened at with a token, and not without one."""
        with pytest.raises(
            ExposedError, match="can be reached from other machines, and no token is required"
        ) as caught:
            listen(Address(host=host, port=0), setting="admin.token_file")
        assert caught.value.hint.startswith("set admin.token_file")
        listener = listen(Address(host=host, port=0), has_token=True)
        assert listener.reach is Reach.NETWORK
        listener.close()

    @pytest.mark.parametrize(("found", "reach"), [("0.0.0.0", Reach.NETWORK), ("127.0.0.1", Reach.MACHINE)])
    @pytest.mark.parametrize("name", ["localhost", "forwarder.example"])
    def test_a_name(self, name: str, found: str, reach: Reach, monkeypatch: pytest.MonkeyPatch) -> None:
        """Of a name only what it stands for at this moment counts, also of `localhost`."""
        resolved = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (found, 0))]
        monkeypatch.setattr(socket, "getaddrinfo", lambda *_args, **_more: resolved)
        if reach is Reach.NETWORK:
            with pytest.raises(ExposedError):
                listen(Address(host=name, port=0))
        listener = listen(Address(host=name, port=0), has_token=reach is Reach.NETWORK)
        assert (listener.reach, listener.address.host) == (reach, name)
        listener.close()


def test_group_id() -> None:
    """A group is known by its name or its number; a name that there is not is refused with what makes it."""
    assert group_id("root") == 0
    assert group_id("54321") == 54321
    with pytest.raises(ListenError, match="there is no group nobodys-group") as caught:
        group_id("nobodys-group")
    assert caught.value.hint.endswith("groupadd --system nobodys-group")


class TestAdopt:
    def test_unix(self, path: Path) -> None:
        """A socket that was passed in keeps its file when it is closed."""
        with socket.socket(socket.AF_UNIX) as passed:
            passed.bind(str(path))
            passed.listen()
            listener = adopt(passed)
            assert listener == Listener(unix(path), passed, Reach.FILE)
            listener.close()
        assert path.exists()

    def test_abstract(self) -> None:
        """A name in the abstract namespace is shown with an @."""
        with socket.socket(socket.AF_UNIX) as passed:
            passed.bind(b"\0forwarder-" + os.urandom(8).hex().encode())
            passed.listen()
            assert str(adopt(passed).address).startswith("unix:@forwarder-")

    @pytest.mark.parametrize(("family", "host"), [(socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")])
    def test_tcp(self, family: socket.AddressFamily, host: str) -> None:
        """A TCP socket that was passed in tells its host and port."""
        with socket.create_server((host, 0), family=family) as passed:
            assert adopt(passed).address == Address(host=host, port=passed.getsockname()[1])

    def test_packets(self) -> None:
        """A socket of packets listens, too, and is not what is spoken here."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as passed:
            passed.bind("")
            passed.listen()
            with pytest.raises(ListenError, match="is no stream of bytes"):
                adopt(passed)

    def test_what_cannot_be_adopted(self) -> None:
        """A socket that does not listen, or is of another kind, is refused with what the unit needs."""
        with socket.socket() as idle, socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as datagrams:
            for passed, words in ((idle, "does not listen"), (datagrams, "is no stream")):
                with pytest.raises(ListenError, match=words) as caught:
                    adopt(passed)
                assert "Accept=no" in caught.value.hint
        with (
            socket.socket(socket.AF_NETLINK, socket.SOCK_RAW) as netlink,
            pytest.raises(ListenError, match="neither a unix nor a TCP socket"),
        ):
            adopt(netlink)
