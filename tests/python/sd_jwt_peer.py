"""PyPI's sd-jwt beside ours: `keys` makes two, `issue` signs and presents, `read` verifies. JSON in, JSON out."""

import json
import sys

from jwcrypto.jwk import JWK
from sd_jwt.common import SDObj
from sd_jwt.holder import SDJWTHolder
from sd_jwt.issuer import SDJWTIssuer
from sd_jwt.verifier import SDJWTVerifier


def keys(_):
    return [json.loads(JWK.generate(kty="EC", crv="P-256").export()) for _ in range(2)]


def issue(asked):
    claims = dict(asked["visible"])
    claims.update({SDObj(name): value for name, value in asked["disclosable"].items()})
    issuer, holder = JWK(**asked["issuer"]), JWK(**asked["holder"])
    header = {"typ": "dc+sd-jwt", "kid": asked["kid"]}
    issued = SDJWTIssuer(claims, issuer, holder, extra_header_parameters=header).sd_jwt_issuance
    shown = SDJWTHolder(issued)
    shown.create_presentation({name: True for name in asked["disclosed"]}, asked["nonce"], asked["audience"], holder)
    return shown.sd_jwt_presentation


def read(asked):
    key = JWK(**asked["issuer"])
    verifier = SDJWTVerifier(asked["presentation"], lambda _issuer, _header: key, asked["audience"], asked["nonce"])
    return verifier.get_verified_payload()


print(json.dumps({"keys": keys, "issue": issue, "read": read}[sys.argv[1]](json.load(sys.stdin))))
