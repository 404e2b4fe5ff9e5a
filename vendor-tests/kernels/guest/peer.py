"""Both ends of the traffic: `peer.py serve` in one namespace, `peer.py talk` in the other."""
import socket
import sys
import threading
import time

SERVER, SERVER6, GATEWAY = "10.2.0.10", "fd02::10", "10.1.0.1"


def any_address(kind, port):
    s = socket.socket(socket.AF_INET6, kind)
    s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    s.bind(("::", port))
    return s


def serve_tcp(port):
    listener = any_address(socket.SOCK_STREAM, port)
    listener.listen(64)
    while True:
        connection, _ = listener.accept()
        threading.Thread(target=echo, args=(connection,), daemon=True).start()


def echo(connection):
    try:
        while data := connection.recv(65536):
            connection.sendall(data[:64])
    except OSError:
        pass
    connection.close()


def serve_udp(port, answers):
    s = any_address(socket.SOCK_DGRAM, port)
    while True:
        data, sender = s.recvfrom(2048)
        if answers:
            s.sendto(data, sender)


def tcp(address, port, times=1):
    """Whether it was answered."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    for _ in range(times):
        s = socket.socket(family)
        s.settimeout(5)
        try:
            s.connect((address, port))
            s.sendall(b"x" * 100)
            s.recv(64)
        except OSError:
            return False
        finally:
            s.close()
    return True


def udp(address, port, source_port=0, answered=True):
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    s = socket.socket(family, socket.SOCK_DGRAM)
    s.settimeout(5)
    if source_port:
        s.bind(("", source_port))
    s.sendto(b"q", (address, port))
    if answered:
        s.recvfrom(100)
    s.close()


if sys.argv[1] == "serve":
    for port in (80, 443):
        threading.Thread(target=serve_tcp, args=(port,), daemon=True).start()
    for port, answers in ((53, True), (514, False), (123, True)):
        threading.Thread(target=serve_udp, args=(port, answers), daemon=True).start()
    time.sleep(100000)
elif sys.argv[1] == "talk":
    tcp(SERVER, 80, 3)
    tcp(SERVER, 443)
    tcp(SERVER, 22)  # refused, which ends the entry before an event tells of the answer
    tcp(GATEWAY, 22)
    tcp(SERVER6, 80)
    tcp(SERVER6, 443, 2)
    udp(SERVER, 53)
    udp(SERVER, 53)
    udp(SERVER6, 53)
    udp(SERVER, 514, answered=False)
    udp(SERVER, 123, source_port=123)
elif sys.argv[1] == "connect":
    sys.exit(0 if tcp(sys.argv[2], int(sys.argv[3])) else 1)
elif sys.argv[1] == "bulk":
    s = socket.create_connection((SERVER, 80))
    end = time.time() + float(sys.argv[2])
    while time.time() < end:
        s.sendall(b"x" * 60000)
        s.recv(64)
        time.sleep(0.01)
    s.close()
