# SPDX-License-Identifier: Apache-2.0
"""Markup that is HTML and XML alike: elements, and texts that may hold anything."""

import html
import re

# XML has no way to write these. JSON has, so a results file may hold them.
NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def text(value):
	"""Any text, as markup that shows it."""
	return html.escape(NOT_XML.sub("\ufffd", str(value)))


def number(value):
	"""A coordinate: a hundredth of a pixel is fine enough."""
	return f"{value:.2f}".rstrip("0").rstrip(".")


def attribute(name, value):
	shown = number(value) if isinstance(value, float) else text(value)
	return f' {name.rstrip("_").replace("_", "-")}="{shown}"'


def tag(name, *children, **attributes):
	"""An element. Children are markup; attributes are not, "class_" is class, "a_b" is a-b."""
	head = name + "".join(attribute(key, value) for key, value in attributes.items())
	return f"<{head}>{''.join(children)}</{name}>" if children else f"<{head}/>"
