# QEMU's machine `virt`. Its kernel is given on the command line: boards/qemu-virt/run.sh takes it from the image.
initrd_modules='virtio_pci virtio_mmio virtio_blk'
modules='vivid videodev usbserial ftdi_sio cp210x ch341 pl2303 cdc-acm uvcvideo xhci-pci virtio_net virtio_rng i6300esb'

board_root() {
  echo 'options vivid n_devs=1 node_types=0x1' > "$1/etc/modprobe.d/vivid.conf"
  echo vivid > "$1/etc/modules-load.d/vivid.conf"
}

board_boot() { echo 'console=ttyAMA0 quiet' > "$1/cmdline.txt"; }
