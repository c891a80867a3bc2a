"""The console: a web page before the control socket, as a process of its own, `mxallowd-console`.

    browser ── server.py: connections, TLS, bounds ── site.py: who asks, and for which page
                 │                                       │
                 │                          pages/: from answers of the daemon to what a template shows
                 │                                       │
               watching/: what is asked all the time,  asking.py: one request on the control socket
               for the plots and the live pages

It has no file but its own, its users' passwords and its history, no capability, and no way to anywhere but the control
socket. The daemon sees one more client of that socket, and nothing of a browser. What a page shows is text: render.py
is the only way to HTML.
"""
