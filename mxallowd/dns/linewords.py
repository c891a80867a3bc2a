"""The table of dial-up patterns: words that names of lines, of leased machines and of mail servers are made of.

Providers name their lines and machines by a rule, so such words stand beside numbers. What counts is a run of letters
of a label ("adsl12-3" has the run "adsl"), in lower case. dialup.py says when a word counts. These are facts that were
gathered from names in public use; what a word that is missing costs is said there.
"""


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


# What nobody calls a mail server. Each also counts as the beginning or the end of a run: "adsl", "dslpool", "pppoe".
LINE_AFFIXES = ("dsl", "dhcp", "dialup", "dialin", "pppo", "dynamic", "dynip", "dynpool", "broadband", "cablemodem")
# A whole run.
LINE_WORDS = _words("""
    ppp dyn dynamic dynamics dinamic dinamica dinamico dinamicos dynamique dynamisch dip dial dialer ras isdn modem
    modems adsl vdsl sdsl hdsl xdsl dslam pppoe pppoa pppoex bras bng bb docsis hfc catv cm cpe
    ftth fttb fttc fttx gpon epon xgpon pon wimax wifi wlan hotspot wireless wireline wline lte umts gprs hsdpa hsd hspa
    cgn cgnat cgnnat carriernat natpool ippool iprange bredband breedband breitband laajakaista surfer
    abo abonne abonnes abonent abonents abonnement residential resnet residencial residence cablelink
""")
# Words of lines that mail servers, their pools and other machines have in their names as well.
SHARED_WORDS = _words("""
    pool pools range cust custs customer customers client clients cliente clientes clienti klient klienten kunde kunden
    kund kunder subscriber subscribers subs suscriptor user users usr usuario home homes casa res resi retail priv
    mobile mob mobil movil moviles cell cellular cable kabel fiber fibre fibra fios optic optical glasfaser
    nat unassigned unused noptr norev noreverse nodns
    vps vserver vmi vds droplet instance compute ec lightsail members dedi dedicated colo colocation kimsufi rootserver
""")
# A run of letters of a mail server's name has one of these in it ...
MAIL_PARTS = ("mail", "smtp")
# ... or is one of these.
MAIL_WORDS = _words("""
    mx omx mxs mxa mxb mxc mxo mxout mxin mxfront mta mtas mtaout mout moutng outbound outgoing relay relays relayout
    sender sending bounce bounces newsletter newsletters postfix exim msa mda mbox imap pop lists listserv zimbra
    exchange edm resqmta omta qmta antispam spamfilter messagelabs sendgrid amazonses mandrill mcsv postmark sparkpost
    pphosted mimecast protonmail
""")
# Registered domains below which a provider names lines or leased machines by a rule, and some of those names have
# neither a word nor the address. A number there is enough. His mail servers are elsewhere, or have a word of theirs.
NUMBERED_DOMAINS = _words("""
    contaboserver.net dion.ne.jp hstgr.cloud infoweb.ne.jp kimsufi.com linodeusercontent.com mesh.ad.jp nttpc.ne.jp
    ocn.ne.jp ovh.net so-net.ne.jp stratoserver.net t-ipconnect.de vultrusercontent.com yourvserver.net
""")
