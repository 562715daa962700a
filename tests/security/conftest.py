"""While a test of this folder runs, its process reaches nothing but this machine."""

import ipaddress
import socket

import pytest


@pytest.fixture(autouse=True)
def _only_loopback(monkeypatch):
    connect = socket.socket.connect

    def guarded(self, address):
        if self.family in (socket.AF_INET, socket.AF_INET6):
            host = str(address[0])
            if host != "localhost" and not ipaddress.ip_address(host).is_loopback:
                pytest.fail(f"a test reaches for {host}")
        return connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", guarded)
