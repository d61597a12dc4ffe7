#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# usage: tools/check-layers.sh [DIR]
#
# The layer rule: which folder may include which. Prints every include that
# breaks it and fails if there is one. A folder that is not in the table may not
# hold C files.
set -eu
cd "${1:-$(dirname "$0")/..}"

# shellcheck disable=SC2046 # file names of ours hold no spaces
set -- $(find . \( -name .git -o -path ./build \) -prune -o \
	-name '*.[chS]' -print | sed 's,^\./,,' | sort)
[ $# -gt 0 ] || { echo "no C files here" >&2; exit 1; }

awk '
BEGIN {
	may["base"] = "base"
	may["vmm"] = "base vmm"
	may["virtio"] = "base vmm virtio"
	may["snapshot"] = "base vmm virtio snapshot"
	may["api"] = "base vmm virtio snapshot api"
	may["jailer"] = "base jailer"
	may["ctl"] = "base snapshot ctl"
	may["guest"] = "guest"
	may["tests"] = "base vmm virtio snapshot api jailer ctl guest tools tests"
	may["perf"] = "base vmm virtio snapshot api jailer ctl guest perf"
	may["tools"] = "base ctl tools"
	# System headers that tell of a layer that is too high.
	not_in["base"] = "linux/kvm.h linux/virtio cjson/"
	not_in["vmm"] = "linux/virtio cjson/"
	not_in["jailer"] = "linux/kvm.h linux/virtio cjson/"
}
function bad(why) {
	printf "%s:%d: %s\n\t%s\n", FILENAME, FNR, why, $0
	failed = 1
}
function words(list, name,    n, w, i) {
	n = split(list, w, " ")
	for (i = 1; i <= n; i++)
		if (index(name, w[i]) == 1)
			return 1
	return 0
}
FNR == 1 {
	layer = FILENAME
	sub(/\/.*/, "", layer)
	if (!(layer in may)) {
		bad("a C file outside the folders of the design")
		nextfile
	}
}
/^[ \t]*#[ \t]*include/ {
	quoted = /"/
	name = $0
	sub(/^[^<"]*[<"]/, "", name)
	sub(/[>"].*/, "", name)
	folder = name
	sub(/\/.*/, "", folder)
	if (quoted && (name !~ /\// || name ~ /\.\./))
		bad("own includes spell the layer: \"" layer "/...\"")
	else if ((quoted || folder in may) &&
		 index(" " may[layer] " ", " " folder " ") == 0)
		bad(layer " may not include " folder)
	else if (!quoted && words(not_in[layer], name))
		bad("<" name "> belongs to a higher layer than " layer)
}
END { exit failed }
' "$@"
