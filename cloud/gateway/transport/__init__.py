"""Transports: what turns bytes on a socket into calls of the gateway. One file each, exchangeable."""
