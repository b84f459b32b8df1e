#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Look at the HTTP pages of a wherryd.

metrics.py answers METHOD URL STATUS [TEXT]  - that is the status, and TEXT is in the body
metrics.py value URL METRIC [LABEL=VALUE...] - print the one sample with these labels
metrics.py page URL                          - print it
metrics.py agrees PAGE BEFORE AFTER          - in the file PAGE, the metrics of a migration lie between
                                               what "wherry status ID --json" said BEFORE and AFTER
metrics.py crowd HOST PORT                   - more clients than are served, all of them bad; then
                                               one that is good is served, too
"""

import json
import re
import socket
import struct
import sys
import urllib.error
import urllib.request

PATIENCE_S = 60  # for an answer; how long one takes is not asked here

# Metric, where "status" has it, and how many of those are one of the metric's units.
GROWING = [
    ("kubevirt_vmi_migration_data_bytes_total", "stats.ram_bytes", 1),
    ("kubevirt_vmi_migration_data_processed_bytes", "stats.page_bytes", 1),
    ("wherry_migration_wire_bytes_total", "stats.wire_bytes", 1),
    ("wherry_migration_rounds", "stats.rounds", 1),
    ("wherry_migration_elapsed_seconds", "elapsed_ns", 1e9),
    ("wherry_migration_bandwidth_limit_bytes_per_second", "bandwidth_bps", 1),
    ("wherry_migration_limiter_charged_bytes_total", "limiter.charged_bytes", 1),
    ("wherry_migration_limiter_waits_total", "limiter.waits", 1),
    ("wherry_migration_limiter_dropped_packets_total", "limiter.dropped_packets", 1),
]
WHILE_COPYING = [
    "kubevirt_vmi_migration_data_remaining_bytes",
    "kubevirt_vmi_migration_dirty_memory_rate_bytes",
    "kubevirt_vmi_migration_memory_transfer_rate_bytes",
    "wherry_migration_progress_ratio",
]
PARTS = ["stop", "scan", "pages", "device", "resume"]


def ask(method, url):
    """Status and body."""
    request = urllib.request.Request(url, method=method, data=b"x" if method == "POST" else None)
    try:
        with urllib.request.urlopen(request, timeout=PATIENCE_S) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def get(url):
    status, text = ask("GET", url)
    assert status == 200, f"status {status}"
    return text


def samples(text):
    """(name, labels, value) of each line."""
    for line in text.splitlines():
        if line.startswith("#"):
            continue
        name, labels, value = re.fullmatch(r"(\w+)(?:\{(.*)\})? (\S+)", line).groups()
        yield name, dict(re.findall(r'(\w+)="((?:[^"\\]|\\.)*)"', labels or "")), float(value)


def one(page, wanted, **labels):
    """The value of the only sample of a metric with these labels."""
    found = [value for name, has, value in page
             if name == wanted and labels.items() <= has.items()]
    assert len(found) == 1, f"{len(found)} samples of {wanted} with {labels}"
    return found[0]


def field(status, path):
    for key in path.split("."):
        status = status[key]
    return status


def agrees(page, before, after):
    with open(page) as text, open(before) as first, open(after) as second:
        page = list(samples(text.read()))
        before, after = json.load(first)[0], json.load(second)[0]
    labels = {key: after[key] for key in ("migration", "role", "peer")}
    labels["name"] = after["vm"]
    for metric, path, unit in GROWING:
        value = one(page, metric, **labels) * unit
        low, high = field(before, path), field(after, path)
        assert low - 1 <= value <= high + 1, f"{metric} is {value}, not {low} to {high}"
    states = [has["state"] for name, has, _ in page
              if name == "wherry_migration_state" and labels.items() <= has.items()]
    assert states in ([before["state"]], [after["state"]]), f"the state is {states}"
    if after["over"]:
        over(page, after, labels)
    else:
        for metric in WHILE_COPYING:
            one(page, metric, **labels)
        assert not [name for name, *_ in page if "succeeded" in name], "it is not over"


def over(page, status, labels):
    """What there is once it has succeeded."""
    assert one(page, "kubevirt_vmi_migration_succeeded", vmi=labels["name"],
               vmim=labels["migration"]) == 1
    ran = (one(page, "kubevirt_vmi_migration_end_time_seconds", **labels) -
           one(page, "kubevirt_vmi_migration_start_time_seconds", **labels))
    assert 0 < ran <= status["elapsed_ns"] / 1e9 + 0.001, f"it ran for {ran} s"
    total = status["downtime"]["total_ns"]
    assert total > 0
    for metric in ("wherry_migration_downtime_seconds",
                   "kubevirt_vmi_migration_last_downtime_seconds"):
        assert abs(one(page, metric, **labels) * 1e9 - total) < 1, metric
    for part in PARTS:
        value = one(page, "wherry_migration_downtime_part_seconds", part=part, **labels)
        assert abs(value * 1e9 - status["downtime"][part + "_ns"]) < 1, part
    assert one(page, "kubevirt_vmi_migration_downtime_seconds_count", node="a") == 1
    assert abs(one(page, "kubevirt_vmi_migration_downtime_seconds_sum", node="a") * 1e9 - total) < 1
    for metric in WHILE_COPYING:
        assert metric not in [name for name, *_ in page], f"{metric} is still there"


def crowd(host, port):
    bad = [b"\x16\x03\x01\0\0",
           b"POST /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 999999999\r\n\r\n",
           b"GET /metrics HTTP/1.1\r\nX: " + b"x" * 100000,
           b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n" * 50]
    slow = [b"", b"GET /met", b"GET /metrics HTTP/1.1\r\nX: "]
    clients = []
    for text in bad * 3 + slow * 7:  # 16 are served at once
        client = socket.create_connection((host, int(port)), timeout=PATIENCE_S)
        clients.append(client)
        try:
            client.sendall(text)
        except OSError:
            pass  # it has been refused already
        if text in bad and len(clients) > len(bad):  # gone, without waiting for an answer
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            client.close()
    assert ask("GET", f"http://{host}:{port}/healthz") == (200, "ok\n")
    for client in clients:
        client.close()


def main():
    command, *arguments = sys.argv[1:]
    if command == "answers":
        method, url, status, *text = arguments
        got, body = ask(method, url)
        assert got == int(status), f"{method} {url}: status {got}: {body}"
        assert all(part in body for part in text), f"{method} {url}: {body}"
    elif command == "value":
        url, metric, *labels = arguments
        print("%g" % one(list(samples(get(url))), metric, **dict(l.split("=", 1) for l in labels)))
    elif command == "page":
        print(get(*arguments), end="")
    elif command == "agrees":
        agrees(*arguments)
    elif command == "crowd":
        crowd(*arguments)
    else:
        sys.exit(__doc__)


if __name__ == "__main__":
    main()
