#!/usr/bin/python3
"""whip.py publish|view URL: aiortc as a WHIP publisher or as a WHEP viewer, for whip.mjs.

`publish` sends a bar that moves over a gradient (VP8) and a tone (Opus); `view` decodes what the room shows. The first line of
stdin is the room's media token. Every half second a line of JSON says the state of the connection, the frames and the
last frame's size, and the audio samples that were louder than noise. When stdin ends, so does the session by DELETE, and
`{"state": "gone"}` is the last line.
"""
import asyncio
import fractions
import json
import ssl
import sys
import time
import urllib.parse
import urllib.request

import numpy
from aiortc import RTCConfiguration, RTCPeerConnection, RTCSessionDescription
from aiortc.mediastreams import MediaStreamError, MediaStreamTrack
from av import AudioFrame, VideoFrame

WIDTH, HEIGHT, FRAMES_PER_S = 320, 180, 10
SAMPLES_PER_S, SAMPLES = 48_000, 960
TONE_HZ, TONE_LOUDNESS = 440, 8_000
NOISE = 300

# The server of the tests certifies itself.
TLS = ssl._create_unverified_context()


class Paced(MediaStreamTrack):
    """Makes one frame after the other, each when it is due."""

    def __init__(self, ticks_per_s, ticks):
        super().__init__()
        self.ticks_per_s, self.ticks, self.count = ticks_per_s, ticks, 0
        self.began = time.monotonic()

    async def recv(self):
        if self.readyState != "live":
            raise MediaStreamError
        at = self.count * self.ticks
        await asyncio.sleep(max(0, self.began + at / self.ticks_per_s - time.monotonic()))
        frame = self.make(self.count)
        frame.pts, frame.time_base = at, fractions.Fraction(1, self.ticks_per_s)
        self.count += 1
        return frame


class Bar(Paced):
    kind = "video"

    def __init__(self):
        super().__init__(90_000, 90_000 // FRAMES_PER_S)

    def make(self, count):
        picture = numpy.empty((HEIGHT, WIDTH, 3), numpy.uint8)
        picture[:] = numpy.linspace(0, 200, WIDTH, dtype=numpy.uint8)[None, :, None]
        left = count * 8 % (WIDTH - 32)
        picture[:, left:left + 32] = (255, 160, 0)
        return VideoFrame.from_ndarray(picture, format="rgb24")


class Tone(Paced):
    kind = "audio"

    def __init__(self):
        super().__init__(SAMPLES_PER_S, SAMPLES)

    def make(self, count):
        at = (count * SAMPLES + numpy.arange(SAMPLES)) / SAMPLES_PER_S
        samples = TONE_LOUDNESS * numpy.sin(2 * numpy.pi * TONE_HZ * at)
        frame = AudioFrame.from_ndarray(samples.astype(numpy.int16)[None, :], format="s16", layout="mono")
        frame.sample_rate = SAMPLES_PER_S
        return frame


async def play(track, seen):
    """Decodes a track until it ends."""
    try:
        while True:
            frame = await track.recv()
            if track.kind == "video":
                seen["frames"] += 1
                seen["size"] = [frame.width, frame.height]
            else:
                seen["samples"] += int((numpy.abs(frame.to_ndarray().astype(numpy.int32)) > NOISE).sum())
    except MediaStreamError:
        pass


def ask(method, url, token, body=None):
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/sdp"}
    request = urllib.request.Request(url, body and body.encode(), headers, method=method)
    return urllib.request.urlopen(request, context=TLS, timeout=10)


async def main(role, url):
    loop = asyncio.get_running_loop()
    stdin = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(stdin), sys.stdin)
    token = (await stdin.readline()).decode().strip()
    end = asyncio.ensure_future(stdin.read())
    seen = {"frames": 0, "size": None, "samples": 0}
    connection = RTCPeerConnection(RTCConfiguration(iceServers=[]))
    if role == "publish":
        for track in (Tone(), Bar()):
            connection.addTransceiver(track, direction="sendonly")
    else:
        for kind in ("audio", "video"):
            connection.addTransceiver(kind, direction="recvonly")
        connection.on("track", lambda track: asyncio.ensure_future(play(track, seen)))
    await connection.setLocalDescription(await connection.createOffer())
    answer = await loop.run_in_executor(None, ask, "POST", url, token, connection.localDescription.sdp)
    session = urllib.parse.urljoin(url, answer.headers["Location"])
    await connection.setRemoteDescription(RTCSessionDescription(answer.read().decode(), "answer"))
    while not end.done():
        print(json.dumps({"state": connection.connectionState, **seen}), flush=True)
        await asyncio.wait([end], timeout=0.5)
    await loop.run_in_executor(None, ask, "DELETE", session, token)
    await connection.close()
    print(json.dumps({"state": "gone", **seen}), flush=True)


asyncio.run(main(*sys.argv[1:]))
