"""The page of ``--qgasim-report``: the guests of each failed test, in one file without scripts."""

from collections.abc import Iterable
from html import escape
from typing import Final

from qgasim.findings import Finding
from qgasim.testing.diagram import draw, make_rows, write_mermaid
from qgasim.testing.live import LiveGuest

__all__ = ["show_guest", "show_test", "write_page"]

_STYLE: Final = """\
:root{color-scheme:light dark;--back:#fff;--page:#f6f7f9;--text:#1d2330;--dim:#667085;--line:#d5dae3;
--head:#eef2f8;--request:#2457b8;--reply:#557;--error:#c0262d;--fault:#b45d00;--finding:#8a2be2;
--effect:#137a4b;--frozen:#5bb5f0}
@media (prefers-color-scheme:dark){:root{--back:#171b24;--page:#0f1218;--text:#e3e8f2;--dim:#8b95a9;
--line:#333b4b;--head:#212837;--request:#7fb0ff;--reply:#a3aec8;--error:#ff7b80;--fault:#ffb45c;
--finding:#c99bff;--effect:#5fd39b;--frozen:#2f86c4}}
*{box-sizing:border-box}
body{margin:0;background:var(--page);color:var(--text);font:15px/1.5 system-ui,sans-serif}
main{max-width:1180px;margin:0 auto;padding:24px 16px 64px}
h1{font-size:22px;margin:0}h2{font-size:17px;margin:0;overflow-wrap:anywhere}
h3{font-size:15px;margin:20px 0 8px;font-weight:600}
p{margin:4px 0}.dim{color:var(--dim)}
article{background:var(--back);border:1px solid var(--line);border-radius:12px;padding:18px;margin:20px 0}
pre{background:var(--page);border:1px solid var(--line);border-radius:8px;padding:10px;overflow-x:auto;
font:12.5px/1.5 ui-monospace,monospace;margin:8px 0}
pre.failure{border-left:3px solid var(--error)}
summary{cursor:pointer;color:var(--request);margin-top:8px}
pre.found{border-left:3px solid var(--finding);white-space:pre-wrap}
.scroll{overflow-x:auto}svg{display:block;min-width:760px;width:100%;height:auto}
svg text{font:12px ui-monospace,monospace;fill:var(--text)}
svg .name{font:600 13px system-ui,sans-serif}svg .time{fill:var(--dim);font-size:11px}
.lane{stroke:var(--line);stroke-width:2}.head{fill:var(--head);stroke:var(--line)}
.frozen{fill:var(--frozen)}.arrow,.cross{stroke-width:1.5;fill:none}
.request .arrow{stroke:var(--request)}.request .tip{fill:var(--request)}
.reply .arrow{stroke:var(--reply);stroke-dasharray:5 3}.reply .tip{fill:var(--reply)}
.error .arrow{stroke:var(--error);stroke-dasharray:5 3}.error .tip,.error text{fill:var(--error)}
.lost .arrow{stroke:var(--fault);stroke-dasharray:2 4}.lost .cross{stroke:var(--fault)}
.lost text,.fault text{fill:var(--fault)}.fault .mark{fill:var(--fault)}
.effect .arrow{stroke:var(--effect)}.effect .tip,.effect text{fill:var(--effect)}
.client .mark{fill:var(--dim)}.client text{fill:var(--dim)}.event .mark{fill:var(--request)}
.finding .mark{fill:var(--finding);stroke:var(--finding)}.finding text{fill:var(--finding);font-weight:600}
"""
_PAGE: Final = """\
<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width,initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>qgasim: {count}</title>
<style>
{style}</style>
<main>
<header><h1>qgasim: {count}</h1>
<p class="dim">What the guests of failed tests were asked, and what happened to them. Point at a text for all
of it.</p></header>
{tests}
</main>
</html>
"""


def show_guest(live: LiveGuest, findings: Iterable[Finding], reproduction: str) -> str:
    """Return the part of a page that is about one guest; it is called where its state can be read."""
    found = list(findings)
    agent = live.simulation.agent
    release = f"qemu-ga {agent.dialect.full_version}"
    names = ("client", release, f"guest {agent.guest.hostname}")
    rows, left_out = make_rows(live.journal.entries, found)
    left_out += live.journal.dropped
    label = f"What {names[2]} was asked and answered, {len(rows)} rows"
    parts = [f"<h3>{escape(release)} in {escape(names[2])}, state {escape(live.state_now())}</h3>"]
    parts += [f'<pre class="found">{escape(str(finding))}</pre>' for finding in found]
    if left_out:
        parts.append(f'<p class="dim">{left_out} earlier rows are left out.</p>')
    parts.append(f'<div class="scroll">{draw(rows, names, label)}</div>')
    for title, text in (
        ("Transcript", live.journal.transcript()),
        ("A test that does the same again", reproduction),
        ("The diagram as Mermaid text", write_mermaid(rows, names)),
    ):
        parts.append(f"<details><summary>{title}</summary><pre>{escape(text)}</pre></details>")
    return "\n".join(parts)


def show_test(test: str, failure: str, guests: Iterable[str]) -> str:
    """Return the part of a page that is about one failed test."""
    shown = "\n".join(guests)
    return f"<article><h2>{escape(test)}</h2>\n<pre class=failure>{escape(failure)}</pre>\n{shown}</article>"


def write_page(tests: list[str]) -> str:
    """Return the page."""
    count = "1 failed test" if len(tests) == 1 else f"{len(tests) or 'no'} failed tests"
    return _PAGE.format(count=count, style=_STYLE, tests="\n".join(tests))
