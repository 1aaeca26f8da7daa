/* SPDX-License-Identifier: Apache-2.0 */
#include "tools/crash/crash.h"

int main(int argc, char **argv)
{
	return crash_main(argc, argv, stdout, stderr);
}
