#!/usr/bin/env python3
"""delays.py DEVICE PAYLOAD_TYPE...: looks at RTP of these payload types that comes by this wire to its host and leaves by it again, until
standard input ends, and then says as JSON when each packet came (Unix time) and how many milliseconds later it left, or null. It is
known by its timestamp, which differs by the same amount from the one that it came with as long as its stream is one."""
import collections
import json
import select
import socket
import struct
import sys

ETH_P_ALL, SO_TIMESTAMPNS, BUFFER_BYTES = 0x0003, 35, 4 << 20


def main(device, payload_types):
    wire = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(ETH_P_ALL))
    wire.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
    wire.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER_BYTES)
    wire.bind((device, 0))
    print("ready", flush=True)
    came, left = {}, {}
    while True:
        readable, _, _ = select.select([wire, sys.stdin], [], [])
        if sys.stdin in readable:
            break
        packet, ancillary, _, address = wire.recvmsg(2048, 64)
        if len(packet) < 40 or packet[0] >> 4 != 4 or packet[9] != 17:
            continue
        rtp = packet[(packet[0] & 15) * 4 + 8 :]
        if len(rtp) < 12 or rtp[0] >> 6 != 2 or rtp[1] & 127 not in payload_types:
            continue
        seconds, nanoseconds = struct.unpack("qq", ancillary[0][2][:16])
        timestamp = struct.unpack_from("!I", rtp, 4)[0]
        times = left if address[2] == socket.PACKET_OUTGOING else came
        times.setdefault(timestamp, seconds + nanoseconds / 1e9)
    # Of all differences between one that came and the next that left, the true one is by far the most frequent.
    starts = sorted((at, timestamp) for timestamp, at in came.items())
    votes = collections.Counter()
    out = sorted((at, timestamp) for timestamp, at in left.items())
    nth = 0
    for at, timestamp in starts:
        while nth < len(out) and out[nth][0] < at:
            nth += 1
        for _, other in out[nth : nth + 3]:
            votes[(other - timestamp) & 0xFFFFFFFF] += 1
    shift = votes.most_common(1)[0][0] if votes else 0
    delays = [(at, left.get((timestamp + shift) & 0xFFFFFFFF)) for timestamp, at in came.items()]
    print(json.dumps([[at, None if then is None else round((then - at) * 1000, 2)] for at, then in delays]))


main(sys.argv[1], [int(word) for word in sys.argv[2:]])
