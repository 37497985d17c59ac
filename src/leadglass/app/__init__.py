"""Put together and started: configuration, composition, the server process, the command line."""
