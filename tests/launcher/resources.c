/* What is written after --resources and --labels: what ray_config gets of it, and what is said when it is wrong. */
#include "resources.h"
#include "check.h"

#include <stdlib.h>

static void becomes(const char *text, const char *want)
{
    char why[512] = "";
    char *got = read_resources(text, why, sizeof why);
    if (!got)
        fprintf(stderr, "%s: %s\n", text, why);
    CHECK(got);
    CHECK_STR(got, want);
    free(got);
}

static void is_refused(const char *text, const char *words)
{
    char why[512] = "";
    char *got = read_resources(text, why, sizeof why);
    if (got)
        fprintf(stderr, "%s became %s\n", text, got);
    CHECK(!got);
    CHECK_STR(why, words);
}

static void lists(void)
{
    becomes("disk=2", "disk=2");
    becomes("disk=2,ssd=1", "disk=2,ssd=1");
    becomes(" disk = 0.5 , scratch=2GiB, tmp=3 K,x=0", " disk = 0.5 , scratch=2GiB, tmp=3 K,x=0");
    becomes("accelerator_type:A100=1", "accelerator_type:A100=1");
}

static void wrong_lists(void)
{
    is_refused("", "expected a name in column 1, got nothing more");
    is_refused("disk", "expected '=' in column 5, got nothing more");
    is_refused("disk 2", "expected '=' in column 6, got \"2\"");
    is_refused("disk=", "expected an amount (2, 0.5 or 2GiB) in column 6, got nothing more");
    is_refused("disk=x", "expected an amount (2, 0.5 or 2GiB) in column 6, got \"x\"");
    is_refused("disk=-1", "expected an amount (2, 0.5 or 2GiB) in column 6, got \"-1\"");
    is_refused("disk=.5", "expected an amount (2, 0.5 or 2GiB) in column 6, got \".5\"");
    is_refused("disk=1.", "expected an amount (2, 0.5 or 2GiB) in column 6, got \"1.\"");
    is_refused("disk=0.12345", "expected an amount (2, 0.5 or 2GiB) in column 6, got \"0.12345\"");
    is_refused("disk=1234567890123456", "expected an amount (2, 0.5 or 2GiB) in column 6, got \"1234567890123456\"");
    is_refused("disk=2 ssd=1", "expected ',' or the end in column 8, got \"ssd=1\"");
    is_refused("disk=2KB", "expected ',' or the end in column 8, got \"B\"");
    is_refused("disk=2,", "expected a name in column 8, got nothing more");
    is_refused("disk=2,,ssd=1", "expected a name in column 8, got \",ssd=1\"");
    is_refused("disk=2,ssd=1,disk=3", "disk is named twice");
    is_refused("CPU=2", "CPU has an option of its own, --num-cpus");
    is_refused("disk=1, object_store_memory=3", "object_store_memory has an option of its own, --object-store-memory");
}

static void objects(void)
{
    becomes("{\"disk\": 2}", "disk=2");
    becomes("  {\"disk\": 2, \"ssd\": 0.5, \"x\": 0, \"y\": 1e3, \"z\": 10.0}", "disk=2, ssd=0.5, x=0, y=1000, z=10");
    becomes("{}", "");
}

static void wrong_objects(void)
{
    is_refused("{\"disk\": \"2\"}", "expected a number from 0 on for \"disk\", got \"2\"");
    is_refused("{\"disk\": -2}", "expected a number from 0 on for \"disk\", got -2");
    is_refused("{\"disk\": null}", "expected a number from 0 on for \"disk\", got null");
    is_refused("{\"disk\": [1]}", "expected a number from 0 on for \"disk\", got [1]");
    is_refused("{\"disk\": 1e16}", "expected a number from 0 on for \"disk\", got 10000000000000000.0");
    is_refused("{\"GPU\": 2}", "GPU has an option of its own, --num-gpus");
    is_refused("{\"a b\": 2}", "expected a name of 1 to 255 bytes without blanks and , = | ! \" ', got \"a b\"");
    is_refused("{\"\": 2}", "expected a name of 1 to 255 bytes without blanks and , = | ! \" ', got \"\"");
    char why[512];
    CHECK(!read_resources("{disk: 2}", why, sizeof why));
    CHECK_HAS(why, "expected JSON, as in {\"disk\": 2}: ");
    CHECK_HAS(why, "in line 1, column 5");
    CHECK(!read_resources("{\"a\": 1} x", why, sizeof why));
    CHECK(!read_resources("{\"a\": 1, \"a\": 2}", why, sizeof why));
    CHECK_HAS(why, "duplicate");
}

static void labels(void)
{
    char why[512] = "";
    CHECK(check_labels("zone=eu, disk=ssd,x=a/b:c", why, sizeof why));
    CHECK(!check_labels("zone", why, sizeof why));
    CHECK_STR(why, "expected '=' in column 5, got nothing more");
    CHECK(!check_labels("zone=", why, sizeof why));
    CHECK_STR(why, "expected a label's value in column 6, got nothing more");
    CHECK(!check_labels("zone=a|b", why, sizeof why));
    CHECK_STR(why, "expected ',' or the end in column 7, got \"|b\"");
    CHECK(!check_labels("a=1,b=2,a=1", why, sizeof why));
    CHECK_STR(why, "a is named twice");
}

CHECK_MAIN(CHECK_TEST(lists), CHECK_TEST(wrong_lists), CHECK_TEST(objects), CHECK_TEST(wrong_objects),
           CHECK_TEST(labels))
