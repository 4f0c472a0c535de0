"""What `whaul dev` is for: a program that knows nothing of whaul, and takes everything from its environment.

    stack_user.py BUCKET PREFIX [wait]

It fetches a file and reads the object (with no BUCKET it asks for the file's description only), and prints the keys in
the bucket. To `wait` is to wait for SIGTERM, and to end with 40.
"""

import os
import signal
import sys

import boto3

MEDIA_ID = "100000000000003"
bucket, prefix = sys.argv[1:3]
where = {"destinationS3File": {"bucketName": bucket, "key": prefix}} if bucket else {"metadataOnly": True}
signal.signal(signal.SIGTERM, lambda *_: sys.exit(40))
answer = boto3.client("socialmessaging").get_whatsapp_message_media(
    mediaId=MEDIA_ID, originationPhoneNumberId=os.environ["WHAUL_DEV_PHONE_NUMBER_ID"], **where
)
if bucket:
    s3 = boto3.client("s3")
    key = answer["ResponseMetadata"]["HTTPHeaders"]["x-whaul-key"]
    stored = s3.get_object(Bucket=bucket, Key=key)
    if len(stored["Body"].read()) != answer["fileSize"]:
        sys.exit(f"{key} is not the file")
    sys.stdout.write(" ".join(found["Key"] for found in s3.list_objects_v2(Bucket=bucket)["Contents"]) + "\n")
    sys.stdout.flush()
if "wait" in sys.argv:
    signal.pause()
