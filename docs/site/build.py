#!/usr/bin/env python3
"""Writes the manual and the documents as static HTML: build.py DIRECTORY.

README.md is the first page; what it and the manual link to comes along: Markdown
and manual pages as pages, a directory as a list of its files, other files as they
are. Then every local link of what was written is looked at, and one that leads to
nothing ends this with 1. Needs mandoc and cmark-gfm.
"""

import html
import html.parser
import os
import posixpath
import re
import shutil
import subprocess
import sys

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
# Programs first, then files, then the rest.
MANUAL = sorted(os.listdir(os.path.join(TOP, "man")), key=lambda name: ("857".index(name[-1]), name))
# What is linked on every page besides the manual.
DOCUMENTS = [("wharf", "README.md"), ("Benchmarks", "docs/benchmarks.md"),
             ("Architecture", "docs/architecture.md"), ("Changes", "CHANGELOG.md")]


def page_of(source):
    """Where a file or directory of the tree is in the site."""
    if source == "README.md":
        return "index.html"
    if os.path.isdir(os.path.join(TOP, source)):
        return source + "/index.html"
    if source.endswith(".md"):
        return re.sub(r"(README)?\.md$", lambda end: "index.html" if end[1] else ".html", source)
    if source.startswith("man/"):
        return source + ".html"
    return source


def run(*command):
    return subprocess.run(command, cwd=TOP, check=True, capture_output=True, text=True).stdout


def manual_page(source):
    """The HTML of a manual page, with links to those of ours alone."""
    body = run("mandoc", "-Thtml", "-O", "fragment,toc,man=%N.%S.html", source)

    def link(found):
        ours = found[1].removesuffix(".html") in MANUAL
        return found[0] if ours else f'<span class="Xr">{found[2]}</span>'

    return re.sub(r'<a class="Xr" href="([^"]*)">(.*?)</a>', link, body, flags=re.S)


def document(source):
    """The HTML of a Markdown file, with headings that can be linked to."""
    body = run("cmark-gfm", "--unsafe", "-e", "table", "-e", "autolink", source)

    def heading(found):
        text = html.unescape(re.sub("<.*?>", "", found[2])).lower()
        name = re.sub(r"[^\w -]", "", text).replace(" ", "-")
        return f'<h{found[1]} id="{name}">{found[2]}</h{found[1]}>'

    body = re.sub(r"<h([1-6])>(.*?)</h\1>", heading, body)
    # A table may be wider than a telephone.
    body = body.replace("<table>", '<div class="wide"><table>').replace("</table>", "</table></div>")

    def manual(found):
        name = f"{found[1]}.{found[2]}"
        up = posixpath.relpath("man", posixpath.dirname(source) or ".")
        return f'<a href="{up}/{name}">{found[0]}</a>' if name in MANUAL else found[0]

    return re.sub(r"<code>([a-z.-]+)\(([1-8])\)</code>", manual, body)


def listing(source):
    """A page with the files of a directory."""
    rows = []
    for place, directories, files in sorted(os.walk(os.path.join(TOP, source))):
        directories.sort()
        for name in sorted(files):
            path = os.path.relpath(os.path.join(place, name), os.path.join(TOP, source))
            rows.append(f'<li><a href="{posixpath.basename(source)}/{path}">{path}</a></li>')
    return f"<h1>{source}</h1>\n<ul>\n" + "\n".join(rows) + "\n</ul>\n"


def head(page, title):
    up = posixpath.relpath(".", posixpath.dirname(page) or ".")

    def item(name, source):
        here = ' aria-current="page"' if page_of(source) == page else ""
        return f'<a href="{up}/{page_of(source)}"{here}>{name}</a>'

    documents = " ".join(item(name, source) for name, source in DOCUMENTS)
    manual = " ".join(item(re.sub(r"\.(\d)$", r"(\1)", name), "man/" + name) for name in MANUAL)
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{html.escape(title)}</title>
<link rel="stylesheet" href="{up}/style.css">
</head>
<body>
<nav>
<p>{documents}</p>
<p>{manual}</p>
</nav>
<main>
"""


class Site:
    def __init__(self, out):
        self.out = out
        self.written = set()
        self.waiting = ["README.md", *("man/" + name for name in MANUAL)]
        self.waiting += [source for _, source in DOCUMENTS]
        self.broken = []

    def build(self):
        shutil.rmtree(self.out, ignore_errors=True)
        while self.waiting:
            source = self.waiting.pop()
            if source not in self.written:
                self.written.add(source)
                self.write(source)
        shutil.copy(os.path.join(TOP, "docs/site/style.css"), self.out)

    def write(self, source):
        path = os.path.join(TOP, source)
        page = page_of(source)
        target = os.path.join(self.out, page)
        os.makedirs(os.path.dirname(target), exist_ok=True)
        if source.startswith("man/"):
            body, title = manual_page(source), re.sub(r"\.(\d)$", r"(\1)", source[4:])
        elif source.endswith(".md"):
            body = document(source)
            heading = re.search("<h1.*?>(.*?)</h1>", body)
            title = html.unescape(re.sub("<.*?>", "", heading[1])) if heading else source
        elif os.path.isdir(path):
            body, title = listing(source), source
        else:
            shutil.copy(path, target)
            return

        def link(found):
            return f'{found[1]}="{self.link(source, page, found[2])}"'

        body = re.sub(r'(href|src)="([^"]*)"', link, body)
        with open(target, "w", encoding="utf-8") as file:
            file.write(f"{head(page, title)}{body}</main>\n</body>\n</html>\n")

    def link(self, source, page, link):
        """The link as it is in the site; what it leads to comes along."""
        if is_elsewhere(link) or link.startswith("#"):
            return link
        path, hash_, fragment = link.partition("#")
        if source.startswith("man/"):
            path = path.removesuffix(".html")
        to = posixpath.normpath(posixpath.join(posixpath.dirname(source), path))
        readme = to + "/README.md"
        if os.path.exists(os.path.join(TOP, readme)):
            to = readme
        if to.startswith("..") or not os.path.exists(os.path.join(TOP, to)):
            self.broken.append(f"{source}: {link}")
            return link
        self.waiting.append(to)
        place = posixpath.relpath(page_of(to), posixpath.dirname(page) or ".")
        return place + hash_ + fragment


def is_elsewhere(link):
    return re.match(r"[a-z]+:", link) is not None


class Links(html.parser.HTMLParser):
    """The links and the names of a page."""

    def __init__(self, text):
        super().__init__()
        self.links, self.names, self.scripts = [], set(), 0
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.scripts += tag == "script"
        for name, value in attributes:
            if name in ("href", "src"):
                self.links.append(value)
            elif name == "id":
                self.names.add(value)


def broken_links(out):
    """What is wrong with the links of the pages in a directory."""
    pages = {}
    for place, _, files in os.walk(out):
        for name in files:
            path = os.path.relpath(os.path.join(place, name), out)
            if name.endswith(".html"):
                with open(os.path.join(place, name), encoding="utf-8") as file:
                    pages[path] = Links(file.read())
    for page, links in pages.items():
        if links.scripts:
            yield f"{page}: a script"
        for link in links.links:
            if is_elsewhere(link):
                continue
            path, _, fragment = link.partition("#")
            to = posixpath.normpath(posixpath.join(posixpath.dirname(page), path)) if path else page
            if not os.path.isfile(os.path.join(out, to)):
                yield f"{page}: {link} leads to nothing"
            elif fragment and to in pages and fragment not in pages[to].names:
                yield f"{page}: {link}: no such place in {to}"


def main():
    site = Site(sys.argv[1])
    site.build()
    wrong = site.broken + sorted(set(broken_links(site.out)))
    for what in wrong:
        print(what, file=sys.stderr)
    print(f"{site.out}/index.html")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
