"""The network: a namespace for each node, and two bridges, one for clients, one for the cluster.

All of it lives in the network and mount namespaces that this process was given, and goes with them.
"""

import subprocess

CLIENTS = "10.91.0."  # Where servers listen, and posters and subscribers come from.
CLUSTER = "10.91.1."  # Where nodes speak to each other, and servers to their node.
NODES = (1, 2, 3)


def ip(*words):
    subprocess.run(("ip",) + words, check=True, timeout=10)


def within(node, *command):
    """A command that runs in the namespace of this node."""
    return ("ip", "netns", "exec", f"node{node}") + command


def build():
    subprocess.run(("mkdir", "-p", "/run/netns"), check=True)
    subprocess.run(("mount", "-t", "tmpfs", "tmpfs", "/run/netns"), check=True)
    ip("link", "set", "lo", "up")
    for bridge in ("clients", "cluster"):
        ip("link", "add", "name", bridge, "type", "bridge")
        ip("link", "set", bridge, "up")
    ip("addr", "add", CLIENTS + "254/24", "dev", "clients")
    for node in NODES:
        name = f"node{node}"
        ip("netns", "add", name)
        for bridge, net in (("clients", CLIENTS), ("cluster", CLUSTER)):
            port, inside = f"{bridge}{node}", f"to-{bridge}"
            ip("link", "add", "name", port, "type", "veth", "peer", "name", inside, "netns", name)
            ip("link", "set", port, "master", bridge, "up")
            ip("-n", name, "addr", "add", f"{net}{node}/24", "dev", inside)
            ip("-n", name, "link", "set", inside, "up")
        ip("-n", name, "link", "set", "lo", "up")


def cut(node):
    """From here on what a node sends to the others vanishes, and what they send to it."""
    ip("link", "set", f"cluster{node}", "nomaster")


def mend(node):
    ip("link", "set", f"cluster{node}", "master", "cluster")
