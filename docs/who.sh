#!/bin/sh
# Makes docs/who.svg: a wharfd with a few sessions, and what `wharfd who` and
# `wharfd status` say of it; and docs/status-page.png, the page that it serves at
# 127.0.0.1:9180. Argument: the program. Needs curl and chromium.
set -eu
wharfd=$(realpath "${1:-target/release/wharfd}")
docs=$(cd "$(dirname "$0")" && pwd)
place=$(mktemp -d)
running=
finish() {
	# shellcheck disable=SC2086 # a list of numbers
	[ -z "$running" ] || kill $running 2>/dev/null || true
	wait
	rm -rf "$place"
}
trap finish EXIT
cd "$place"
mkdir ann camera1 pub
truncate -s 700M ann/holiday.mp4 pub/debian-12.iso
truncate -s 60M clip.mp4
# Started by root, wharfd serves a home of root as nobody.
[ "$(id -u)" != 0 ] || chown -R 65534:65534 .
echo secret | "$wharfd" passwd -c --rounds 1000 --home "$place/ann" users ann 2>/dev/null
echo secret | "$wharfd" passwd --rounds 1000 --home "$place/camera1" --rights upload-only users camera1 2>/dev/null
"$wharfd" --listen 127.0.0.1:0 --print-port --users users --control-socket control --listen-metrics 127.0.0.1:9180 \
	--session-rate-down 60M --session-rate-up 3M pub >ports 2>log &
running=$!
until [ -s ports ]; do sleep 0.1; done
url=ftp://$(head -n 1 ports)
curl -s --interface 127.0.0.21 -u ann:secret -o /dev/null "$url/holiday.mp4" &
running="$running $!"
curl -s --interface 127.0.0.34 -u camera1:secret -T clip.mp4 "$url/" &
running="$running $!"
curl -s --interface 127.0.0.77 -o /dev/null "$url/debian-12.iso" &
running="$running $!"
# A few seconds of transfer make the picture.
sleep 4
{
	echo '$ wharfd who'
	"$wharfd" who --control-socket control
	echo
	echo '$ wharfd status'
	"$wharfd" status --control-socket control
} >text
awk '
	function escaped(line) {
		gsub(/&/, "\\&amp;", line); gsub(/</, "\\&lt;", line); gsub(/>/, "\\&gt;", line)
		return line
	}
	{ lines[NR] = $0; if (length($0) > wide) wide = length($0) }
	END {
		width = wide * 8.43 + 32; height = NR * 19 + 32
		printf "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%d\" height=\"%d\" viewBox=\"0 0 %d %d\" role=\"img\">\n", width, height, width, height
		print "<title>wharfd who and wharfd status</title>"
		# Browsers no longer heed xml:space in a picture of a page.
		print "<style>text { white-space: pre }</style>"
		printf "<rect width=\"%d\" height=\"%d\" rx=\"8\" fill=\"#1d2430\"/>\n", width, height
		print "<g font-family=\"ui-monospace, DejaVu Sans Mono, Menlo, Consolas, monospace\" font-size=\"14\" xml:space=\"preserve\">"
		for (line = 1; line <= NR; line++) {
			if (lines[line] == "") continue
			colour = lines[line] ~ /^\$/ ? "#8fd18b" : "#d5dbe5"
			printf "<text x=\"16\" y=\"%d\" fill=\"%s\" textLength=\"%.1f\">%s</text>\n", line * 19 + 13, colour, length(lines[line]) * 8.43, escaped(lines[line])
		}
		print "</g>\n</svg>"
	}' text >"$docs/who.svg"
cat text
"$docs/screenshot.py" http://127.0.0.1:9180/ "$docs/status-page.png" 6
