"""The parts that the intake, the admin API and the receiver share: sockets, access rules, the HTTP server, errors."""
