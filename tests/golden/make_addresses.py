"""Writes fixtures/filter/addresses.jsonl: URLs and texts with addresses, and what datatrove's URLFilter and PIIFormatter say of them.

  V/bin/python tests/golden/make_addresses.py ../shared/data/corpora        # V as make_filters.py's head says, with tldextract==5.4.0

First line: the lists. Then `{"url": …, "rule": …}`, the rule that drops it or null, and `{"text": …, "pii": …}`, the text that a
new formatter leaves, or null where it is the same. Real ones come from the corpora's url columns and from the surroundings of what
looks like an address in their texts; the others are put together from parts by a seeded generator, so that ports, users,
capitals, dots at the end, IDNA, every special IPv4 network's edges and the patterns' own edges are met. tldextract fetches the
public suffix list of the day unless told not to: here it uses the snapshot that it carries. An address of 192.0.0.0/24 is left out,
because CPython changed its mind on it (3.13, 3.12.4: private; 3.11.7: public).
"""
import json
import os
import pathlib
import random
import re
import sys
import warnings

os.environ["TLDEXTRACT_PUBLIC_SUFFIX_LIST_URLS"] = ""
warnings.simplefilter("ignore")

import make_filters
import pyarrow.parquet
import xxhash

OUT = make_filters.HERE / "addresses.jsonl"
LISTS = {
    "domains": ["bad.com", "worse.co.uk", "one.fine.org", "foo.blogspot.com", "münchen.de", "xn--mnchen-3ya.de", "co.uk", "1.2.3.4", "localhost", "wikipedia.org",
                "digital.gov", "a.b.c.deep.net", "пример.рф", "wildcard.ck", "kawasaki.jp"],
    "urls": ["http://x.net/a", "https://en.wikipedia.org/wiki/Anarchism", "HTTP://X.NET/B"],
    "banned_words": ["Casino", "for-bid", "xxx"], "soft_banned_words": ["free", "win", "cheap", "Blog"], "banned_subwords": ["un-der", "pokies", "2024x"]}
HOSTS = ["bad.com", "BAD.com", "www.bad.com", "notbad.com", "bad.com.", "a.b.bad.com", "worse.co.uk", "www.worse.co.uk", "other.co.uk", "co.uk", "fine.org",
         "one.fine.org", "two.one.fine.org", "foo.blogspot.com", "www.foo.blogspot.com", "bar.blogspot.com", "münchen.de", "www.münchen.de", "MÜNCHEN.de",
         "xn--mnchen-3ya.de", "XN--MNCHEN-3YA.de", "1.2.3.4", "11.2.3.4", "5.1.2.3.4", "localhost", "a.localhost", "[::1]", "en.wikipedia.org", "wikipedia.org", "digital.gov",
         "www.digital.gov", "a.b.c.deep.net", "x.a.b.c.deep.net", "c.deep.net", "пример.рф", "www.пример.рф", "wildcard.ck", "www.wildcard.ck", "a.wildcard.ck", "city.kawasaki.jp",
         "a.b.kawasaki.jp", "x.net", "X.NET", "fullwidth。bad．com", "bad。com", " bad.com", "casino.org", "under.com", "pokies24.net", ""]
BEFORE = ["http://", "https://", "HTTP://", "ftp://", "", "//", "http:/", "http://me@", "http://me:pw@", "http://bad.com@", "a+b-c.d://", "x://y://", "://"]
AFTER = ["", "/", ":80/", ":8080", "?q=bad.com", "#top", "/a", "/b", "/casino-royal", "/Casino", "/for.bid", "/forbid", "/free", "/free_win", "/free-free", "/FREE/win", "/blog/cheap",
         "/un/der", "/2024-x", "/poki.es", "/xxx.html", "//bad.com", "/@bad.com", "/ü/xxx", "?url=http://bad.com/"]
NETWORKS = ["0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.0.2.0/24", "192.31.196.0/24", "192.52.193.0/24",
            "192.88.99.0/24", "192.168.0.0/16", "192.175.48.0/24", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4"]
PIECES = ["a", "Z9", "b-c", "x_y", "é", "ß", ".", "..", "@", "@", "@", "-", "--", " ", "\n", "com", "c.de", "[", "]", ":]", "[1.2.3.4]", "[1.2.3.x:]", "8.8.8.8", "1.1.1.1", "10.0.0.1",
          "256", "255", "01", "1", "999", ".1.2.3", "9.", "!", "#$%", "'", "+", "/", "=", "^", "`", "{|}~", "(", ",", "<", ">", "mailto:", "٣", "user", "example.org", "192.168.1.1"]


LIKELY = re.compile(r"\w@\w|\d{1,3}\.\d{1,3}\.\d{1,3}\.\d")


def real(corpora):
    urls, texts = [], []
    for folder in sorted(pathlib.Path(corpora).iterdir()):
        for path in sorted(folder.glob("*.parquet")):
            if "url" in pyarrow.parquet.read_schema(path).names:
                urls += pyarrow.parquet.read_table(path, columns=["url"]).column(0).to_pylist()[::97]
        for _, text in make_filters.documents(folder):
            for match in list(LIKELY.finditer(text))[:2]:
                line = text[:match.start()].rfind("\n") + 1
                around = text[max(line, match.start() - 40):match.end() + 40].split("\n")[0]
                if "192.0.0." not in around:
                    texts.append(around)
    return [sorted(set(found), key=lambda one: xxhash.xxh3_64_hexdigest(one.encode()))[:most] for found, most in ((urls, 120), (texts, 160))]


def edges():
    import ipaddress
    for network in map(ipaddress.ip_network, NETWORKS):
        first, last = int(network[0]), int(network[-1])
        for number in (first - 1, first, last, last + 1):
            if 0 <= number < 2 ** 32 and not 0xC0000000 <= number < 0xC0000100:
                yield f"From {ipaddress.ip_address(number)}."


def main(corpora):
    from datatrove.data import Document
    from datatrove.pipeline.filters import URLFilter
    from datatrove.pipeline.formatters import PIIFormatter
    names = {"domains": "extra_domains", "urls": "extra_urls"}
    one = URLFilter(use_integrated_lists=False, **{names.get(name, name): entries for name, entries in LISTS.items()})
    chance = random.Random(1)
    urls, texts = real(corpora)
    urls += [f"http://{host}/" for host in HOSTS] + [f"{before}{host}/x" for before in BEFORE for host in ("bad.com", "www.bad.com", "one.fine.org", "fine.org")]
    urls += [f"http://{host}{after}" for after in AFTER for host in ("x.net", "bad.com")]
    urls += ["".join(map(chance.choice, (BEFORE, HOSTS, AFTER, AFTER))) for _ in range(250)]
    texts += list(edges()) + ["".join(chance.choice(PIECES) for _ in range(chance.randrange(3, 16))) for _ in range(500)]
    lines = [LISTS]
    for url in dict.fromkeys(filter(None, urls)):
        verdict = one.filter(Document(text="", id="", metadata={"url": url}))
        lines.append({"url": url, "rule": None if verdict is True else "url/" + verdict[1]})
    for text in dict.fromkeys(texts):
        left = PIIFormatter().format(text)
        lines.append({"text": text, "pii": None if left == text else left})
    with open(OUT, "w", encoding="utf-8") as file:
        file.writelines(json.dumps(line, ensure_ascii=False, separators=(",", ":")) + "\n" for line in lines)
    print(len(lines) - 1, "cases,", os.path.getsize(OUT), "bytes")


if __name__ == "__main__":
    main(sys.argv[1])
