"""Peak memory of fetching many pictures from a server on this machine: `python benchmarks/data/fetch_memory.py [LINKS]`."""

from __future__ import annotations

import asyncio
import resource
import subprocess
import sys
import tempfile
import threading
import time
from io import BytesIO
from ipaddress import ip_address
from pathlib import Path

import numpy as np
from PIL import Image

from core.data.catalog import Catalog
from core.inputs.images.catalog_fetch import LIMITS, CatalogFetch, plan_fetch
from core.inputs.images.image_fetcher import ImageFetcher

LOOPBACK = ip_address("127.0.0.1")


def serve(ready: threading.Event, ports: list[int], picture: bytes) -> None:
    """A server that has a picture for each tenth path and answers 404 for the others."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        status, body = ("200 OK", picture) if b"0.jpg " in head else ("404 Not Found", b"")
        fields = f"content-type: image/jpeg\r\ncontent-length: {len(body)}\r\nconnection: close"
        writer.write(f"HTTP/1.1 {status}\r\n{fields}\r\n\r\n".encode() + body)
        await writer.drain()
        writer.close()

    async def run() -> None:
        server = await asyncio.start_server(answer, "127.0.0.1", 0)
        ports.append(server.sockets[0].getsockname()[1])
        ready.set()
        await server.serve_forever()

    asyncio.run(run())


def measure(count: int) -> None:
    """Prints links, pictures fetched, seconds and the peak of memory before and after."""
    made, ready, ports = BytesIO(), threading.Event(), list[int]()
    Image.new("RGB", (16, 16)).save(made, format="JPEG")
    threading.Thread(target=serve, args=(ready, ports, made.getvalue()), daemon=True).start()
    ready.wait()

    async def here(host: str) -> list[object]:
        return [LOOPBACK]

    links = np.array([f"http://h{row % 8}.example.com:{ports[0]}/{row}.jpg" for row in range(count)], dtype=object)
    fetcher = ImageFetcher(LIMITS, resolve=here, ports=set(ports), permits=lambda one: one == LOOPBACK)  # type: ignore[arg-type]
    before, began = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        work = CatalogFetch(Path(folder), 256, fetcher)
        work.run(plan_fetch([Catalog(links, links, links)], Path(folder)))
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    seconds = time.perf_counter() - began
    print(
        f"{count:,} links, {work.fetched:,} fetched, {seconds:.0f} s, peak {before / 1024:.0f} -> {after / 1024:.0f} MiB"
    )


if __name__ == "__main__":
    if len(sys.argv) > 1:
        measure(int(sys.argv[1]))
    else:
        for each in (1_000, 75_000):
            subprocess.run([sys.executable, __file__, str(each)], check=True)
