"""Image URLs of attackers, and the addresses that their names lead to."""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import ip_address

from core.inputs.images.image_urls import Address

NAMES = {
    "inside.example.com": ["10.0.0.7"],
    "loop.example.com": ["127.0.0.1"],
    "metadata.google.internal": ["169.254.169.254"],
    "both.example.com": ["93.184.215.14", "192.168.1.1"],
    "last.example.com": ["2606:4700::1", "93.184.215.14", "::1"],
    "carrier.example.com": ["100.64.3.4"],
    "zero.example.com": ["0.0.0.0"],
    "six.example.com": ["::1"],
    "mapped.example.com": ["::ffff:127.0.0.1"],
    "unique.example.com": ["fd12:3456::1"],
    "azure.example.com": ["168.63.129.16"],
    "nowhere.example.com": [],
    "127.0.0.1.nip.io": ["127.0.0.1"],
    "xn--lcalhost-54a.example.com": ["127.0.0.1"],
}

IMAGE = "/picture.jpg"

URLS = [
    # another scheme
    "file:///etc/passwd",
    "ftp://cdn.example.com/a.jpg",
    "gopher://127.0.0.1:6379/_INFO",
    "data:image/png;base64,AAAA",
    "jar:http://cdn.example.com!/a.jpg",
    "//cdn.example.com/a.jpg",
    "dict://127.0.0.1:11211/stats",
    "HTTP:/cdn.example.com/a.jpg",
    "javascript:alert(1)",
    "unix:///var/run/docker.sock",
    "",
    "http://",
    "https:///a.jpg",
    # this machine and its neighbours, plainly
    "http://127.0.0.1/a.jpg",
    "http://127.8.9.1/a.jpg",
    "http://0.0.0.0/a.jpg",
    "http://10.1.2.3/a.jpg",
    "http://172.16.0.1/a.jpg",
    "http://192.168.0.1/a.jpg",
    "http://169.254.169.254/latest/meta-data/",
    "http://100.100.100.200/a.jpg",
    "http://224.0.0.1/a.jpg",
    "http://255.255.255.255/a.jpg",
    "http://198.18.0.1/a.jpg",
    "http://localhost/a.jpg",
    "http://LOCALHOST/a.jpg",
    "http://intranet/a.jpg",
    # IPv6
    "http://[::1]/a.jpg",
    "http://[::]/a.jpg",
    "http://[fe80::1]/a.jpg",
    "http://[fe80::1%25eth0]/a.jpg",
    "http://[fc00::1]/a.jpg",
    "http://[ff02::1]/a.jpg",
    "http://[::ffff:127.0.0.1]/a.jpg",
    "http://[::ffff:7f00:1]/a.jpg",
    "http://[::127.0.0.1]/a.jpg",
    "http://[2002:7f00:1::]/a.jpg",
    "http://[64:ff9b::7f00:1]/a.jpg",
    "http://[64:ff9b:1::a00:1]/a.jpg",
    "http://[2001:0:4136:e378:8000:63bf:80ff:fffe]/a.jpg",
    "http://[fd00:ec2::254]/a.jpg",
    "http://[v1.fe80::a]/a.jpg",
    "http://[127.0.0.1]/a.jpg",
    "http://::1/a.jpg",
    # spellings of 127.0.0.1
    "http://2130706433/a.jpg",
    "http://0x7f000001/a.jpg",
    "http://017700000001/a.jpg",
    "http://0x7f.1/a.jpg",
    "http://127.1/a.jpg",
    "http://0177.0.0.1/a.jpg",
    "http://127.0.0.01/a.jpg",
    "http://127.0.0.0x1/a.jpg",
    "http://0/a.jpg",
    "http://127.0.0.1./a.jpg",
    "http://127。0。0。1/a.jpg",
    "http://１２７.0.0.1/a.jpg",
    "http://①②⑦.⓪.⓪.①/a.jpg",
    "http://%31%32%37.0.0.1/a.jpg",
    "http://127.0.0.1%2f@cdn.example.com/a.jpg",
    "http://127.0.0.1%00.example.com/a.jpg",
    # names
    "http://ｌｏｃａｌｈｏｓｔ/a.jpg",
    "http://lo\u00adcalhost/a.jpg",
    "http://loc\u200dalhost/a.jpg",
    "http://localhost。/a.jpg",
    "http://cdn.example.com./a.jpg",
    "http://faß.example.com/a.jpg",
    "http://-cdn.example.com/a.jpg",
    "http://cdn..example.com/a.jpg",
    f"http://{'a' * 64}.example.com/a.jpg",
    f"http://{'a.' * 130}com/a.jpg",
    # user names, ports, and what readers of URLs disagree about
    "http://user@cdn.example.com/a.jpg",
    "http://user:secret@cdn.example.com/a.jpg",
    "http://cdn.example.com@127.0.0.1/a.jpg",
    "http://cdn.example.com:80@127.0.0.1/a.jpg",
    "http://127.0.0.1#@cdn.example.com/a.jpg",
    "http://127.0.0.1\\@cdn.example.com/a.jpg",
    "http:\\\\127.0.0.1\\a.jpg",
    "http://cdn.example.com\\@127.0.0.1/a.jpg",
    "http://cdn.example.com:22/a.jpg",
    "http://cdn.example.com:8080/a.jpg",
    "http://cdn.example.com:0/a.jpg",
    "http://cdn.example.com:99999/a.jpg",
    "http://cdn.example.com:/a.jpg",
    "http://cdn.example.com:-80/a.jpg",
    "http://cdn.example.com:8_0/a.jpg",
    "http://cdn.example.com:80:80/a.jpg",
    " http://cdn.example.com/a.jpg",
    "http://cdn.example.com/a b.jpg",
    "http://cdn.example.com/a\r\nHost: 127.0.0.1",
    "http://cdn.exa\tmple.com/a.jpg",
    "http://cdn.example.com\x00.evil.example/a.jpg",
    "http://cdn.example.com/\x7f",
    "http://cdn.example.com/ü.jpg",
    f"http://cdn.example.com/{'a' * 2048}",
    # names that lead inside
    *(f"http://{name}{IMAGE}" for name in NAMES),
]


async def resolve(host: str) -> Sequence[Address]:
    """The hostile names' addresses; every other name is a host on the internet."""
    return [ip_address(text) for text in NAMES.get(host, ["93.184.215.14"])]
