# SPDX-License-Identifier: Apache-2.0
guest_piece() { die "no guest yet"; }
image_piece() { die "no image yet"; }
