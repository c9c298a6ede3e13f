"""OpenClaw LAN Mesh: agents on a LAN that find each other, send messages and delegate tasks."""

__version__ = "0.1.0"
