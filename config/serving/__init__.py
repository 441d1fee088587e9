"""How the web process serves Django over HTTP: slow clients wait outside of the threads that work.

    connections ── event loop (gunicorn's asgi worker) ── whole requests ── a few threads ── Django (WSGI)

The event loop receives requests and sends responses, within time limits; a slow client costs it a little memory. Only
a request that has arrived completely is given to a thread, and the thread is free again as soon as the response is
made.
"""
