/* SPDX-License-Identifier: Apache-2.0 */
#include "tools/polyctl/polyctl.h"

int main(int argc, char **argv)
{
	return polyctl_main(argc, argv, stdout, stderr);
}
