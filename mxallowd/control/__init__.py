"""Control: an operator asks and changes a running daemon, by HTTP/1.1 and JSON over a UNIX socket.

    exchange    requests, responses and routes: what the parts of the daemon offer
    answers/    the answers, one module for each subject; each takes the parts of the daemon that it asks

Nothing here is on the way of a packet. A request may wait; the main loop may not, so an answer yields between pieces.
"""
