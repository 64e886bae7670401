"""What the intake, the admin API and the receiver share: sockets, who may come in, the server, its errors."""
