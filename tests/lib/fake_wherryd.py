# SPDX-License-Identifier: Apache-2.0
"""A wherryd that only answers: JSON lines over a unix socket, as docs/api.md says."""

import json
import socket
import threading


class FakeWherryd:
    """Answers each request by what is in @answers for its command: an answer, a function of the
    request that makes one, or a list of answers, one for each request and the last one for all
    that follow. Text instead of an answer is a refusal, in these words."""

    def __init__(self, path):
        self.answers = {}
        self.requests = []
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listener.bind(str(path))
        self._listener.listen()
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    def close(self):
        self._listener.shutdown(socket.SHUT_RDWR)  # or the thread would go on to wait
        self._thread.join()
        self._listener.close()

    def _accept(self):
        try:
            while True:
                connection, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=(connection,), daemon=True).start()
        except OSError:
            pass  # closed

    def _serve(self, connection):
        with connection, connection.makefile("rw", encoding="utf-8") as stream:
            try:
                for line in stream:
                    stream.write(json.dumps(self._answer(json.loads(line))) + "\n")
                    stream.flush()
            except (OSError, ValueError):
                pass  # the client is gone

    def _answer(self, request):
        self.requests.append(request)
        answer = self.answers.get(request["command"], "unknown command")
        if isinstance(answer, list):
            answer = answer.pop(0) if len(answer) > 1 else answer[0]
        if callable(answer):
            answer = answer(request)
        if isinstance(answer, str):
            return {"ok": False, "error": answer}
        return {**answer, "ok": True}
