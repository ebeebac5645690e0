# Run by the Dockerfile: takes out of the folder $1 of installed packages what TopClip never opens.
set -eu
cd "$1"
find . -depth -type d \( -name tests -o -name test -o -name include \) -exec rm -rf {} +
find . -type f \( -name '*.pyi' -o -name '*.pxd' -o -name '*.pyx' -o -name '*.h' -o -name '*.hpp' \) -delete
# What describes AWS' services to botocore: the bucket's, and those by which the SDK finds its keys.
cd botocore/data
for folder in */; do
  case $folder in s3/|sts/|sso/|sso-oidc/|signin/) ;; *) rm -rf "$folder" ;; esac
done
