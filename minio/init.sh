#!/bin/sh
# Prepares the bucket server; can be run again at any time. Only sh, coreutils and mc: the image has nothing else.
#
# The app's identity may do what it does in this one bucket. The upload identity may put objects under staging/ and
# nothing else, since an upload URL signed by a stronger one copies other people's images on some servers.
set -eu

# Through standard input, so that no process list shows a secret.
printf '%s\n%s\n' "$MINIO_ROOT_USER" "$(cat "$MINIO_ROOT_PASSWORD_FILE")" |
    mc alias set store "$MINIO_ENDPOINT_URL" > /dev/null

# A policy or rule with the bucket's name filled in.
filled() {
    eval "cat <<END
$(cat "/minio/$1")
END"
}

# identity NAME SECRET_FILE POLICY: a user with this secret and exactly this policy.
identity() {
    filled "$3.json" > "/tmp/$3.json"
    mc admin policy create store "shoebox-$3" "/tmp/$3.json"
    printf '%s\n%s\n' "$1" "$(cat "$2")" | mc admin user add store > /dev/null
    case "$(mc admin user info store "$1" --json)" in
        *"\"policyName\":\"shoebox-$3\""*) ;;
        *) mc admin policy attach store "shoebox-$3" --user "$1" ;;
    esac
}

mc mb --ignore-existing "store/$S3_BUCKET"
mc anonymous set none "store/$S3_BUCKET"
mc ilm rule import "store/$S3_BUCKET" < /minio/lifecycle.json
identity "$S3_ACCESS_KEY_ID" "$S3_SECRET_ACCESS_KEY_FILE" app
identity "$S3_UPLOAD_ACCESS_KEY_ID" "$S3_UPLOAD_SECRET_ACCESS_KEY_FILE" upload
