"""A camera by HTTP for `soak.py` and `daemon.py`: an MJPEG stream of given pictures."""

import http.server
import threading
import time


class Camera(http.server.ThreadingHTTPServer):
    """Gives its pictures in turns, `fps` a second: each once, or for `flip` seconds. Every `every` seconds a stream stalls
    for `stall` seconds and ends."""

    daemon_threads = True

    def __init__(self, pictures, fps, flip=None, every=None, stall=0):
        super().__init__(("127.0.0.1", 0), Stream)
        self.pictures, self.fps, self.flip, self.every, self.stall = pictures, fps, flip or 1 / fps, every, stall
        self.begin = time.monotonic()
        self.stalls = 0
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_address[1]}/"

    def handle_error(self, request, address):
        pass  # The daemon hangs up on a stalled stream, and when it ends.


class Stream(http.server.BaseHTTPRequestHandler):
    def log_message(self, *_):
        pass

    def do_GET(self):
        camera = self.server
        self.send_response(200)
        self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
        self.end_headers()
        while True:
            since = time.monotonic() - camera.begin
            if camera.every and since % camera.every > camera.every - camera.stall:
                camera.stalls += 1
                time.sleep(camera.stall)
                return
            picture = camera.pictures[int(since / camera.flip) % len(camera.pictures)]
            head = f"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: {len(picture)}\r\n\r\n".encode()
            self.wfile.write(head + picture + b"\r\n")
            time.sleep(1 / camera.fps)
