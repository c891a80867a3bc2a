"""The fleet: the gateways of a site share one whitelist, by a stream on Redis or Valkey.

A **gateway** is a daemon of the **site**; its name is its **origin**. It **says** what changed in its whitelist, some
records a **batch** (batch.py), and **hears** what others say. An entry that another gateway said is **told** here.

saying.py decides what is said and when, hearing.py what becomes of what is heard, peers.py what is known of each other
gateway; none of them does input or output. Nothing of the packet path knows of the fleet.
"""
