#!/usr/bin/env bash
# Runs the kernel tests on an emulated processor with AVX-512, VNNI, BF16 and AVX-VNNI: Bochs boots
# a small Linux from images made here. What to install: docs/guides/add_a_kernel.md.
#   BOCHS   the emulator                  KERNEL  unpacked package linux-image-<version>-amd64
#   PYTHON  interpreter that has tersor   TESTS   arguments of pytest
#   BIOS    folder of Bochs' BIOS images
set -euo pipefail
cd "$(dirname "$0")/../.."
BOCHS=${BOCHS:-bochs} PYTHON=${PYTHON:-.venv/bin/python} BIOS=${BIOS:-/usr/share/bochs}
TESTS=${TESTS:-tests/quantization tests/sparse tests/pruning tests/coding tests/distillation}
PATH=$PATH:/usr/sbin
for tool in "$BOCHS" "$PYTHON" rsync cpio busybox xorriso mke2fs modprobe depmod; do
  command -v "$tool" >/dev/null || { echo "needs $tool"; exit 77; }
done
[ -d "${KERNEL:-}/lib/modules" ] || { echo "needs KERNEL, an unpacked linux-image package"; exit 77; }
here=$PWD work=$PWD/build/avx512
mkdir -p "$work"

# ---- first stage: busybox and the modules that a disk needs
rm -rf "$work/initrd" "$work/iso" "$work/root"
mkdir -p "$work"/initrd/{bin,proc,sys,dev,mnt,modules} "$work/iso/isolinux"
cp "$(command -v busybox)" "$work/initrd/bin/"
version=$(basename "$KERNEL"/lib/modules/*)
depmod -b "$KERNEL" "$version"
count=10
for module in $(for name in ata_piix sd_mod crc32c_generic ext4; do
    modprobe -d "$KERNEL" -S "$version" --show-depends $name; done | awk '!seen[$2]++ {print $2}'); do
  cp "$module" "$work/initrd/modules/$((count++))-$(basename "$module")"
done
cat >"$work/initrd/init" <<'EOF'
#!/bin/busybox sh
/bin/busybox --install -s /bin
mount -t proc p /proc; mount -t sysfs s /sys; mount -t devtmpfs d /dev
for module in /modules/*; do insmod $module; done
mount -t ext4 /dev/sda /mnt
for folder in proc sys dev; do mount --move /$folder /mnt/$folder; done
exec switch_root /mnt /init
EOF
chmod +x "$work/initrd/init"
(cd "$work/initrd" && find . | cpio -o -H newc --quiet | gzip -1 >"$work/iso/initrd.gz")

# ---- the boot disc. The kernel believes that short copies are fast and long ones are not, a pair
# that its memmove cannot do: clearcpuid.
cp "$KERNEL"/boot/vmlinuz-* "$work/iso/vmlinuz"
cp /usr/lib/ISOLINUX/isolinux.bin /usr/lib/syslinux/modules/bios/ldlinux.c32 "$work/iso/isolinux/"
cat >"$work/iso/isolinux/isolinux.cfg" <<'EOF'
default linux
label linux
  kernel /vmlinuz
  append initrd=/initrd.gz console=ttyS0,115200 mitigations=off clearcpuid=fsrm lsm=capability
EOF
xorriso -as mkisofs -quiet -o "$work/boot.iso" -b isolinux/isolinux.bin -c isolinux/boot.cat \
  -no-emul-boot -boot-load-size 4 -boot-info-table "$work/iso"

# ---- the system: this interpreter, what the tests import, the tests, at the paths they have here
root=$work/root
mkdir -p "$root"/{bin,proc,sys,dev,tmp,etc,usr} "$root$here"
ln -s ../bin "$root/usr/bin"
cp "$(command -v busybox)" "$root/bin/"
ln -s busybox "$root/bin/sh"
echo 'root:x:0:0:root:/tmp:/bin/sh' >"$root/etc/passwd"
"$PYTHON" tests/cross/guest_files.py >"$work/files.txt"
rsync -a --files-from="$work/files.txt" / "$root/"
rsync -a --exclude __pycache__ tests pyproject.toml "$root$here/"
find "$root" -type f \( -name '*.so*' -o -path '*/bin/python*' \) -print0 |
  { xargs -0 ldd 2>/dev/null || true; } |
  awk '/ => \// {print $3} /^[[:space:]]*\/.* \(/ {print $1}' | grep -v "^$root" | sort -u |
  while read -r library; do
    mkdir -p "$root$(dirname "$library")"
    cp -L "$library" "$root$library"
  done
cat >"$root/init" <<EOF
#!/bin/sh
/bin/busybox --install -s /bin
export PATH=/bin HOME=/tmp PYTHONDONTWRITEBYTECODE=1 OMP_NUM_THREADS=1 PYTHONPATH=${PYTHONPATH:-}
ip link set lo up
cd $here
$("$PYTHON" -c 'import sys; print(sys.executable)') -m pytest -q --color=no -p tests.cross.few_examples \
  -p no:cacheprovider $TESTS
echo "emulated tests: status \$?"
poweroff -f
EOF
chmod +x "$root/init"
rm -f "$work/root.img"
mke2fs -q -t ext4 -O ^has_journal -E root_owner=0:0 -d "$root" "$work/root.img" 3G

cat >"$work/bochsrc" <<EOF
config_interface: textconfig
display_library: nogui
romimage: file=$BIOS/BIOS-bochs-latest
vgaromimage: file=$BIOS/VGABIOS-lgpl-latest
megs: 2048
cpu: model=sapphire_rapids, ips=100000000, exclude_features="amx, amx_int8, amx_bf16, la57, pks, uintr"
ata0-master: type=disk, mode=flat, path=$work/root.img
ata1: enabled=1, ioaddr1=0x170, ioaddr2=0x370, irq=15
ata1-master: type=cdrom, path=$work/boot.iso, status=inserted
boot: cdrom
com1: enabled=1, mode=file, dev=$work/console.txt
log: $work/bochs.log
panic: action=fatal
EOF
rm -f "$work"/*.lock "$work/console.txt"
"$BOCHS" -q -f "$work/bochsrc" >"$work/bochs.out" 2>&1 || true  # it ends with an error at poweroff
cat "$work/console.txt"
grep -q 'emulated tests: status 0' "$work/console.txt"
