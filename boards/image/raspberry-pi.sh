# Raspberry Pi 3, 4, 400, CM4 and Zero 2 W, whose own firmware loads the kernel from the boot partition. Debian 12's kernel
# does not know the Pi 5.
extra_components=non-free-firmware
firmware_packages=raspi-firmware,firmware-brcm80211
initrd_modules='sdhci-iproc bcm2835'
modules='videodev usbserial ftdi_sio cp210x ch341 pl2303 cdc-acm uvcvideo xhci-pci reset-raspberrypi dwc2 g_serial
  smsc95xx lan78xx bcmgenet mdio-bcm-unimac bcm54140 broadcom brcmfmac brcmutil bcm2835_wdt bcm2835_thermal bcm2711_thermal
  raspberrypi-hwmon raspberrypi-cpufreq i2c-bcm2835 spi-bcm2835 pwm-bcm2835 bcm2835-rng iproc-rng200 raspberrypi_gpiomem
  leds-gpio gpio-raspberrypi-exp rtc-ds1307 i2c-dev ctr ccm gcm cmac algif_hash algif_skcipher aes-arm64 ghash-ce'

board_root() {
  mkdir -p "$1/usr/lib/firmware"
  cp -r "$work/kernel/lib/firmware/brcm" "$1/usr/lib/firmware/"
  mkdir -p "$1/etc/systemd/system/wpa_supplicant@wlan0.service.d"
  printf '[Unit]\nConditionPathExists=/etc/wpa_supplicant/wpa_supplicant-wlan0.conf\n' \
    > "$1/etc/systemd/system/wpa_supplicant@wlan0.service.d/lookout.conf"
  chroot "$1" systemctl --quiet enable wpa_supplicant@wlan0.service
}

board_boot() {
  cp "$2"/usr/lib/raspi-firmware/{bootcode.bin,start.elf,start4.elf,fixup.dat,fixup4.dat} "$1/"
  cp "$2"/usr/lib/linux-image-*/broadcom/bcm2{837-rpi-3-*,837-rpi-zero-2-w,837-rpi-cm3*,711-rpi-*}.dtb "$1/"
  cat > "$1/config.txt" <<'CONFIG'
arm_64bit=1
enable_uart=1
upstream_kernel=1
kernel=vmlinuz
initramfs initrd.img followkernel
# A button to ground on GPIO27 needs a pull-up.
gpio=27=pu
CONFIG
  # The header's serial line is the daemon's.
  echo 'console=tty0 quiet' > "$1/cmdline.txt"
}
