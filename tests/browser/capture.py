#!/usr/bin/env python3
"""capture.py WORD...: looks at every packet that passes this host's wires until standard input ends, and then says as JSON who
spoke with whom, which names were asked for, and which of the words were seen in the clear. Needs no program beside Python."""
import json
import select
import socket
import struct
import sys

ETH_P_ALL, ETH_P_IP, ETH_P_IPV6 = 0x0003, 0x0800, 0x86DD
SO_RCVBUFFORCE = 33
BUFFER_BYTES = 16 << 20
NAMES = {1: "icmp", 6: "tcp", 17: "udp", 58: "icmpv6"}


def flow(ether_type, packet):
    """Protocol, source and destination; None for what is no IP (ARP)."""
    if ether_type == ETH_P_IP and len(packet) >= 20:
        head, protocol = (packet[0] & 15) * 4, packet[9]
        source, destination = socket.inet_ntoa(packet[12:16]), socket.inet_ntoa(packet[16:20])
    elif ether_type == ETH_P_IPV6 and len(packet) >= 40:
        head, protocol = 40, packet[6]
        source, destination = (socket.inet_ntop(socket.AF_INET6, packet[at : at + 16]) for at in (8, 24))
    else:
        return None
    ports = (0, 0)
    if protocol in (6, 17) and len(packet) >= head + 4:
        ports = struct.unpack_from("!HH", packet, head)
    return NAMES.get(protocol, str(protocol)), source, ports[0], destination, ports[1]


def asked_name(packet):
    """The name of a DNS question in an IPv4 packet (RFC 1035 §4.1)."""
    at, labels = (packet[0] & 15) * 4 + 8 + 12, []
    while at < len(packet) and 0 < packet[at] < 64:
        labels.append(packet[at + 1 : at + 1 + packet[at]].decode("ascii", "replace"))
        at += 1 + packet[at]
    return ".".join(labels).lower()


def main():
    words = [word.encode() for word in sys.argv[1:]]
    wire = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(ETH_P_ALL))
    wire.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, BUFFER_BYTES)
    flows, names, seen, packets = set(), set(), set(), 0
    print("ready", flush=True)
    while True:
        readable, _, _ = select.select([wire, sys.stdin], [], [])
        if sys.stdin in readable:
            break
        packet, (device, ether_type, *_) = wire.recvfrom(1 << 16)
        if device == "lo":
            continue  # the administration's listener
        packets += 1
        of = flow(ether_type, packet)
        if of and of[0] == "udp" and of[4] == 53 and ether_type == ETH_P_IP:
            names.add(asked_name(packet))
        elif of:
            flows.add(of)
        seen.update(word for word in words if word in packet)
    print(json.dumps({"packets": packets, "flows": sorted(flows), "names": sorted(names), "seen": sorted(word.decode() for word in seen)}))


main()
