"""``qgasim-qemu``: the emulator of a libvirt domain, without a virtual machine."""
