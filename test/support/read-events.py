# A client in Python that uses only the standard library. It prints each event as a line of JSON. When its connection is
# closed, it comes back with the last id.
import http.client
import json
import sys
import time
import urllib.request

last_event_id = ''
retry = 3


def read(response):
    """Yields the events that are whole. An id counts from the end of its event."""
    global last_event_id, retry
    event, data, event_id = '', [], last_event_id
    for line in response:
        if not line.endswith(b'\n'):
            return
        field, _, value = line[:-1].decode().partition(':')
        value = value.removeprefix(' ')
        if line == b'\n':
            last_event_id = event_id
            if data:
                yield {'event': event or 'message', 'data': '\n'.join(data)}
            event, data = '', []
        elif field == 'event':
            event = value
        elif field == 'data':
            data.append(value)
        elif field == 'id':
            event_id = value
        elif field == 'retry':
            retry = int(value) / 1000


while True:
    headers = {'Accept': 'text/event-stream'}
    if last_event_id:
        headers['Last-Event-ID'] = last_event_id
    try:
        with urllib.request.urlopen(urllib.request.Request(sys.argv[1], headers=headers)) as response:
            for message in read(response):
                print(json.dumps(message), flush=True)
    except (OSError, http.client.HTTPException):
        pass
    time.sleep(retry)
