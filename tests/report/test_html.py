"""The page: complete, escaped, self-contained, small."""

import re
from html.parser import HTMLParser

from tersor.report.html_charts import colors_of

VOID = {"meta", "path", "rect", "circle", "link", "br"}


class Balance(HTMLParser):
    def __init__(self):
        super().__init__()
        self.open = []

    def handle_starttag(self, tag, attrs):
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        if tag not in VOID:
            assert self.open.pop() == tag


def test_page(report, tmp_path):
    page = report.to_html(tmp_path / "r.html")
    assert (tmp_path / "r.html").read_text() == page
    balance = Balance()
    balance.feed(page)
    assert balance.open == []
    assert len(page) < 100_000
    for text in ("3.7x smaller", "3.3x faster", "-0.50 points", "32.2 KB", "~ 3.20 ms", "missed"):
        assert text in page, text
    assert "latency is 3.20 ms (modelled), limit 1.00 ms" in page


def test_nothing_comes_from_elsewhere(report):
    page = report.to_html()
    assert not re.search(r"https?://|//cdn|<script|<link|<img|@import|url\((?!#)", page)


def test_names_are_escaped(report):
    page = report.to_html()
    assert "<three>" not in page
    assert "Digits &lt;three&gt; scales" in page
    assert "mcu &amp; co" in page
    assert "a &lt;b&gt;source&lt;/b&gt;" in page


def test_fragment_for_notebooks(report):
    fragment = report._repr_html_()
    assert "<html" not in fragment
    assert fragment.count("<svg") == 6
    # Styles must not leak into the notebook.
    style = re.search(r"<style>(.*?)</style>", fragment, re.DOTALL)[1]
    selectors = [one for rule in re.findall(r"([^{}]+)\{", style) for one in rule.split(", .")]
    assert len(selectors) > 20
    assert all("tersor-report" in selector for selector in selectors)


def test_bare_report(bare):
    page = bare.to_html()
    assert page.count("<svg") == 3
    assert "Comparison" in page


def test_both_colour_schemes(report):
    page = report.to_html()
    assert "prefers-color-scheme: dark" in page
    assert "currentColor" in page


def test_colours(report):
    colors = colors_of(report)
    assert len(set(colors.values())) == 4
    assert list(colors) == ["fp32", "cloud", "edge", "mcu & co"]
