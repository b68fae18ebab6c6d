"""Writes fixtures/filter/words.jsonl: texts with the words and sentences that datatrove 0.10 cuts them into.

  python3.11 -m venv V && V/bin/pip install datatrove==0.10.1 spacy==3.8.18 pyarrow zstandard
  V/bin/python tests/golden/make_words.py ../shared/data/corpora

A line: `text`; `words`, what word_tokenize("eng") gives; `sentences`, what split_into_sentences gives. Texts are
made by hand for each rule, drawn at random from what the rules look at, and cut out of the corpora where they
have most to decide. Random ones with characters that the interpreter's Unicode lacks are left out.
"""
import io
import json
import pathlib
import random
import sys
import unicodedata

import pyarrow.parquet
import spacy
import zstandard
from datatrove.utils.text import split_into_sentences, split_into_words
from spacy.lang import char_classes as c

OUT = pathlib.Path(__file__).parents[2] / "fixtures/filter/words.jsonl"
RULES = sorted(spacy.blank("en").tokenizer.rules)
MARKS = [one.replace("\\", "") for one in c.LIST_PUNCT + c.LIST_QUOTES + c.LIST_CURRENCY if one]

HAND_MADE = [
    "", " ", "\n", " \n\n ", "Hello, World!", "one  two\tthree\n\nfour \u00a0 five\u2003six\u0085seven\x1ceight\u3000nine",
    "I'm, you're, he'd've; shouldn't've cannot gonna Im dont its were hell whore shell", "I’m y’all’s don’t ’em ’Cause ‘s",
    "Mr. Smith, Jr., of Wash. D.C. (Ph.D.) met Ms. O'Brien at 10am, 11p.m. or 12a.m. sharp vs. Corp. Inc., e.g. i.e.",
    "a. b. z. A. B. ä. ö. xx. XX. xX. Xx. J.R.R. U.S. U.S.A. N.Y. Co. co. Ill. Ill ill.",
    ":) :-) ;-) :( (: =) xD <3 </3 >:( :'( :’-( o_O O.o 0.0 (╯°□°）╯︵┻━┻ ¯\\(ツ)/¯ ><(((*> ಠ_ಠ (ಠ_ಠ) \\\") <space> C++ C++.",
    "x:) :)x ):( (:) ((:)) :):):) ''''''' '' ''' :-/ :/ a:/b a:b a/b and/or w/o (and/or) x-and/or-y",
    "it's x-it's Smith/Mr. well—it's x-a.m. a.m - . x/Mr. Mr . : ) :\n) : - ) a-e.g.-b '-' ':' ):",
    "$5 US$10 C$3 A$7.50 AUS$ 5$ 5US$ £3.50 €20,000 20€ 5₹ ¥ 5¥. 100% %5 §3 3§ ≥5", "5km 5km² 10kg. 3m/s 20°C. °C. °c. 5°F 7mm³, 12GB 3hPa 8кг 5тбكم 5km/h) k5 5K",
    "+5 +a + 5+ 5+. a+ 5+5 5-5 5--5 5*5 5^5 a-5 5-a 5-a-5 3x3 a+b", "well-known x–y x—y x--y x---y x----y x——y x~y 3-a a-3 -a a- --a a-- —a a— ~a",
    "a,b a,5 5,a 5,000 a, ,a A.B a.B A.b a.b 'a'.'B' a:b 1:b a<b a>b a=b a/b 1/2 a/2 =a a= <a> :a a:",
    "... a... ...a a...b .. . . .. a..b … ……  ……… a…b …a a…… .…. ¿Qué? ¡Sí! «x» „y“ “z” ‘w’ `v` ´u´ ‚t‚",
    "(a) [b] {c} <d> _e_ #f *g* &h **bold** __init__ snake_case a_b ##x //y \\z |w| @v ^u =t ~s",
    "http://example.com/path?q=1#f https://www.foo.co.uk. (www.x.org) user@mail.com, mailto:a@b.cc x.com:8080 x.com:1 ftp://u:p@h.de/",
    "8.8.8.8 10.0.0.1 192.168.1.1 172.20.0.1 223.255.255.254:80 256.1.1.1 1.2.3 127.0.0.1 8.8.8.8/x a.b.c a.bc A.BC x.Com foo.bar-baz.com foo_.com",
    "日本語のテキスト。これは文です！ 日本.jp Ελληνικά, κείμενο· Русский текст: «да». हिन्दी में। العربية، نص؟ ሰላም።", "☃ a☃b ☺☺ 👍🏽 👩‍👩‍👧 🇩🇪 ©2020 ®™ → ✓ • ● a•b 100° ° №5 ½ x² ²",
    "Hi. You! Who? \"Yes.\" (No.) Hm... Mr. X. 3.14. e.g. this. A.B. C.\n\nNext.\n\"Quoted.\" - dash. end", "One.\n", "One. ", "One.  ", "One.\u00a0Two", "One. \nTwo",
    "!?!? a ?! b。c ！ d । e ။ f ؟", ". . . a. ) b . \" c", "The word IS_ALPHA is special to spaCy: xIS_ALPHA IS_ASCII ORTH.",
    "x" * 70 + ". " + "y" * 64 + ", " + "z" * 63 + "!\n" + "don't" * 13, "a" * 24 + "-b " + "a" * 23 + "-b " + "-".join("abcdefgh"),
    "\u200bzero\u200b width\ufeff e\u0301 n\u0303. A\u0301. \u0301", "naïve. café, Über. ÜB. ß. Straße", "def f(x): return {'a': [1, 2.5], \"b\": x[0] != y}  # comment",
    "| a | b |\n|---|---|\n| 1 | 2 |", "```python\nx = 'a'\n```\n'''doc''' \"\"\"doc\"\"\"", "10am 10a.m. 1pm. 13pm 12p.m., (9am) 9:30am", "'tis 'twas 'em' 'cause rock'n'roll o'clock O'Neil's dogs' James's 's S's",
    "goin' doin' somethin' lovin’ nothin goin'. 'goin'' doin',", "\x00 a\x00b \x7f \x01.", "v.s. vs. p.m. a.m. a.m.. p.m.!", "8) 8-) 8D 8-D 18) :8) (8 (-8 0_0 @_@ -_- -__- ^_^ >.< ._. ;_; V.V",
]


def random_texts(count):
    random.seed(8)
    words = ["a", "B", "ab", "AB", "Ab", "it", "Mr", "co", "日", "é", "ё", "1", "12", "km", "²", "am"]
    spaces = [" "] * 9 + ["\n", "  ", "\u00a0", "\n\n", "\t"]
    more = ["..", "...", "--", "---", "’s", "'s", "n't", "http://", "a.com", "@", ":80", "☃", "😀", "-", "+", "*", "/", "=", "°", "…", ".", ".", ","]
    while count:
        text = ""
        for _ in range(random.randint(3, 14)):
            parts = [random.choice(random.choice([words, words, MARKS, RULES, more])) for _ in range(random.choice([1, 2, 2, 3, 4, 6]))]
            text += "".join(parts) + random.choice(spaces)
        if all(unicodedata.category(char) not in ("Cn", "Cs") for char in text):
            count -= 1
            yield text


def documents(folder):
    for path in sorted(folder.iterdir()):
        if path.suffix == ".parquet":
            columns = pyarrow.parquet.read_schema(path).names
            column = "text" if "text" in columns else "content"
            yield from pyarrow.parquet.read_table(path, columns=[column]).column(0).to_pylist()
        else:
            with zstandard.open(path, "rb") as file:
                for line in io.TextIOWrapper(file, encoding="utf-8", newline="\n"):
                    yield json.loads(line)["text"]


def excerpts(corpora, each, length):
    """Stretches with the most words for their white-space words, one of each document, evenly spread."""
    for folder in sorted(pathlib.Path(corpora).iterdir()):
        found = list(documents(folder))
        for text in found[len(found) // (2 * each)::max(1, len(found) // each)][:each]:
            starts = range(0, min(len(text), 20_000) - length, length)
            parts = [text[start:start + length] for start in starts] or [text[:length]]
            yield max(parts, key=lambda part: len(split_into_words(part, "eng")) - 1.15 * len(part.split()))


def main(corpora):
    split_into_words("IS_ALPHA", "eng")  # spaCy takes it as a word the first time in a process, and fails from then on
    lines = []
    for text in [*HAND_MADE, *random_texts(100), *excerpts(corpora, 5, 350)]:
        case = {"text": text, "words": split_into_words(text, "eng"), "sentences": split_into_sentences(text, "eng")}
        lines.append(json.dumps(case, ensure_ascii=False, separators=(",", ":")))
    OUT.parent.mkdir(parents=True, exist_ok=True)
    OUT.write_text("\n".join(lines) + "\n", encoding="utf-8", newline="\n")
    print(len(lines), "texts,", OUT.stat().st_size, "bytes")


if __name__ == "__main__":
    main(sys.argv[1])
