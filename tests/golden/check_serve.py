"""Holds `dataprep serve` against its real clients: OpenAI's own library, and a browser.

    python tests/golden/check_serve.py BINARY MODEL [SCREENSHOT.png]

Needs openai, playwright and a Chromium of the system (`apt-get install chromium`; CHROMIUM names
another one). Starts the binary on a free port of the loopback address with MODEL (a run, a checkpoint
or a directory in Hugging Face's form), asks it as a program and types into its page as a person would.
Prints a line a check and ends with status 1 where one fails. Made for people, not for tests: those
are in tests/serve.rs.
"""

import json
import math
import os
import signal
import subprocess
import sys
import threading
import time

import openai
from playwright.sync_api import sync_playwright

binary, model = sys.argv[1:3]
screenshot = sys.argv[3] if len(sys.argv) > 3 else None
failed = []


def check(what, ok):
    print(("ok      " if ok else "FAILED  ") + what, flush=True)
    if not ok:
        failed.append(what)


def refused(kind, **asked):
    try:
        client.completions.create(**asked)
    except kind as error:
        return error
    return None


def check_client():
    (only,) = client.models.list().data
    name = only.id
    check("the model is listed and found by its name", client.models.retrieve(name).id == name)
    asked = dict(model=name, prompt="The cell", max_tokens=24)
    greedy = client.completions.create(**asked, temperature=0, logprobs=5)
    (choice,) = greedy.choices
    command = [binary, "generate", model, "--prompt", asked["prompt"], "--max-tokens", "24",
               "--temperature", "0", "--json"]
    generated = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)
    check("a greedy text is that of `generate`", choice.text == generated["text"])
    check("tokens are counted", greedy.usage.completion_tokens == generated["tokens"])
    logprobs = choice.logprobs
    largest = [max(top.values()) for top in logprobs.top_logprobs]
    check("greedy tokens are the likeliest",
          all(math.isclose(a, b) for a, b in zip(logprobs.token_logprobs, largest)))
    pieces = list(client.completions.create(
        **asked, temperature=0, stream=True, stream_options={"include_usage": True}))
    text = "".join(piece.choices[0].text for piece in pieces if piece.choices)
    check("a streamed text is the same", text == choice.text and len(pieces) > 2)
    check("the last piece counts tokens", pieces[-1].usage == greedy.usage)
    several = client.completions.create(**asked, n=3, seed=5)
    again = client.completions.create(**asked, n=3, seed=5)
    texts = [choice.text for choice in several.choices]
    check("n texts differ, and come again with their seed",
          len(set(texts)) == 3 and texts == [choice.text for choice in again.choices])
    both = client.completions.create(model=name, prompt=["One", "Two"], max_tokens=4, echo=True)
    begins = [choice.text[:3] for choice in both.choices]
    check("an echo begins with each prompt", begins == ["One", "Two"])
    stop = choice.text[3:5]
    stopped = client.completions.create(**asked, temperature=0, stop=[stop]).choices[0]
    check("a stop string ends a text",
          stopped.finish_reason == "stop" and stopped.text == choice.text.split(stop)[0])
    check("another model is not found",
          refused(openai.NotFoundError, **{**asked, "model": "gpt-4"}) is not None)
    error = refused(openai.BadRequestError, **{**asked, "max_tokens": 10**6})
    check("a text too long is refused by its code",
          error is not None and error.code == "context_length_exceeded")
    error = refused(openai.BadRequestError, **asked, temperature=-1)
    check("a wrong value is refused by its name", error is not None and error.param == "temperature")


def check_crowd():
    """Fifty clients at once: all answered alike; the time of each, and of all."""
    name = client.models.list().data[0].id
    texts, began = [], time.monotonic()

    def one():
        answer = client.completions.create(
            model=name, prompt="Water", max_tokens=32, temperature=0)
        texts.append((answer.choices[0].text, answer.usage.completion_tokens))

    threads = [threading.Thread(target=one) for _ in range(50)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    seconds = time.monotonic() - began
    check("fifty clients get the same text", len(texts) == 50 and len(set(texts)) == 1)
    tokens = sum(tokens for _, tokens in texts)
    print(f"        {tokens} tokens to 50 clients in {seconds:.1f} s: {tokens / seconds:.0f} tokens/s")


def until(holds):
    """Waits for what a person would wait for."""
    ends = time.monotonic() + 60
    while not holds():
        if time.monotonic() > ends:
            raise TimeoutError("the page does not go on")
        time.sleep(0.05)


def check_page():
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=os.environ.get("CHROMIUM", "/usr/bin/chromium"), args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 900, "height": 900})
        errors = []
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on("console", lambda it: errors.append(it.text) if it.type == "error" else None)
        page.goto(address)
        # Looked at from outside: the page's policy lets nobody evaluate code in it.
        until(lambda: page.locator("#model").inner_text() != "…")
        page.fill("#prompt", "The cell <b>")
        page.fill("#max_tokens", "12")
        page.fill("#seed", "3")
        page.click("#go")
        until(lambda: page.locator("#stop").is_disabled() and page.locator(".token").count() > 2)
        tokens = page.locator("#text .token")
        count = tokens.count()
        check(f"the page shows {count} tokens", 2 < count <= 12)
        check("a prompt is text, not markup", page.locator("#text b").count() == 0
              and page.locator("#text").inner_text().startswith("The cell <b>"))
        check("each token tells its probability", "%" in tokens.first.get_attribute("title"))
        tokens.nth(2).click()
        rows = page.locator("#alternatives tbody tr")
        check("a click shows ten alternatives", rows.count() == 10)
        if screenshot:
            page.screenshot(path=screenshot)
        before = page.locator("#text").inner_text()
        rows.nth(1).locator("button").click()
        until(lambda: page.locator("#stop").is_disabled() and page.locator(".token").count() > 2)
        after = page.locator("#text").inner_text()
        check("a click on one writes on from it", after != before and after.startswith("The cell <b>"))
        page.fill("#max_tokens", "1000000")
        page.click("#go")
        until(lambda: page.locator("#error").inner_text() != "")
        check("what is refused is said", "max_tokens" in page.locator("#error").inner_text())
        # The browser itself reports the status 400 of the last request, and nothing else.
        check(f"the page has no errors: {errors}", all("400" in error for error in errors))
        browser.close()


server = subprocess.Popen(
    [binary, "serve", model, "--port", "0", "--json"], stdout=subprocess.PIPE, text=True)
try:
    address = json.loads(server.stdout.readline())["address"]
    client = openai.OpenAI(base_url=address + "/v1", api_key="none", max_retries=0)
    check_client()
    check_crowd()
    check_page()
    server.send_signal(signal.SIGINT)
    check("Ctrl-C ends it with status 130", server.wait(timeout=10) == 130)
finally:
    server.kill()
sys.exit(1 if failed else 0)
