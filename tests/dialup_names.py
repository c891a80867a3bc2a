"""Forms of reverse DNS names in public use, of lines and leased machines and of mail servers.

The forms are real, as providers have them; places and numbers within are made up, and so is each address. A line is an
address and its names, so that one address shows many forms.
"""

LINES4 = """
81.12.77.140 81-12-77-140.isp.example 81.12.77.140.isp.example 140.77.12.81.isp.example 140-77-12-81.isp.example
81.12.77.140 81_12_77_140.isp.example 81x12x77x140.isp.example ip-81-12-77-140.isp.example host81-12.77.140.isp.example
81.12.77.140 host-81-12-77-140.business.telecomitalia.it host140-77-static.12-81-b.business.telecomitalia.it
81.12.77.140 pool-81-12-77-140.bstnma.fios.verizon.net c-81-12-77-140.hsd1.ma.comcast.net
81.12.77.140 cpe-81-12-77-140.nyc.res.rr.com 81-12-77-140.lightspeed.irvnca.sbcglobal.net ip81-12-77-140.ri.ri.cox.net
81.12.77.140 ool-510c4d8c.dyn.optonline.net 81-12-77-140.dhcp.stls.mo.charter.com wsip-81-12-77-140.ri.ri.cox.net
81.12.77.140 p510c4d8c.dip0.t-ipconnect.de p510C4D8C.dip.t-dialin.net pD9E1F2A3.dip0.t-ipconnect.de
81.12.77.140 dslb-081-012-077-140.081.012.pools.vodafone-ip.de ip510c4d8c.dynamic.kabel-deutschland.de
81.12.77.140 i510C4D8C.versanet.de xdsl-81-12-77-140.nc.de port-81-12-77-140.dynamic.qsc.de
81.12.77.140 x510c4d8c.dyn.telefonica.de dyn-510c4d8c.isp.example 0x510c4d8c.bynxx12.adsl-dhcp.tele.dk
81.12.77.140 host81-12-77-140.range81-12.btcentralplus.com 510c4d8c.skybroadband.com 81-12-77-140.zone4.bethere.co.uk
81.12.77.140 cpc12345-abcd1-2-0-cust123.1-2.cable.virginm.net 510c4d8c.bb.sky.com
81.12.77.140 lfbn-idf1-1-234-56.w81-12.abo.wanadoo.fr laubervilliers-656-1-2-3.w81-12.abo.wanadoo.fr
81.12.77.140 lns-bzn-59-81-12-77-140.adsl.proxad.net 140.77.12.81.rev.sfr.net ip-140.net-81-12-77.rev.numericable.fr
81.12.77.140 140.red-81-12-77.dynamicip.rima-tde.net 140.pool81-12-77.dynamic.orange.es
81.12.77.140 81.12.77.140.dyn.user.ono.com cm-81-12-77-140.telecable.es
81.12.77.140 d510c4d8c.access.telenet.be 140.77-12-81.adsl-dyn.isp.belgacom.be
81.12.77.140 510C4D8C.cm-5-1a.dynamic.ziggo.nl 81-12-77-140.cable.dynamic.v4.ziggo.nl
81.12.77.140 ip510c4d8c.adsl-surfen.hetnet.nl 81-12-77-140.fixed.kpn.net 140-77-12-81.ftth.glasoperator.nl
81.12.77.140 h-77-140.A12.priv.bahnhof.se c-510c4d8c.012-12-6c6b7010.cust.bredbandsbolaget.se
81.12.77.140 81-12-77-140-no2340.tbcn.telia.com 140.77-12-81.customer.lyse.net ti0012a400-1234.bb.online.no
81.12.77.140 dsl-hkibng32-54f8a4-123.dhcp.inet.fi a81-12-77-140.elisa-laajakaista.fi mobile-user-510c4d-140.dhcp.inet.fi
81.12.77.140 140.77.12.81.dynamic.wline.res.cust.swisscom.ch adsl-81-12-77-140.adslplus.ch
81.12.77.140 chello081012077140.12.11.vie.surfer.at 81-12-77-140.adsl.highway.telekom.at
81.12.77.140 abcd140.neoplus.adsl.tpnet.pl 81-12-77-140.dynamic.chello.pl 140.77.12.81.ipv4.supernova.orange.pl
81.12.77.140 81.12.77.140.dynamic.ttnet.com.tr 140.77.12.81.dynamic.jazztel.es athedsl-12345.home.otenet.gr
81.12.77.140 ppp81-12-77-140.pppoe.avangarddsl.ru broadband-81-12-77-140.ip.moscow.rt.ru
81.12.77.140 81-12-77-140.broadband.corbina.ru
81.12.77.140 81.12.77.140.dynamic.mts-nn.ru pppoe-140.77.isp.example 140-77-12-81.pool.ukrtel.net
81.12.77.140 softbank081012077140.bbtec.net KD081012077140.ppp-bb.dion.ne.jp FL1-81-12-77-140.tky.mesh.ad.jp
81.12.77.140 p12345-omed01.osaka.ocn.ne.jp p1234-ipngn1234marunouchi.tokyo.ocn.ne.jp pl1234.ag1001.nttpc.ne.jp
81.12.77.140 em81-12-77-140.pool.e-mobile.ne.jp pw081012077140.27.panda-world.ne.jp
81.12.77.140 ntosak012345.osak.nt.ftth.ppp.infoweb.ne.jp
81.12.77.140 81.12.77.140.broad.xx.dynamic.163data.com.cn 81-12-77-140.dynamic-ip.hinet.net
81.12.77.140 81-12-77-140.hinet-ip.hinet.net abts-north-dynamic-140.77.12.81.airtelbroadband.in
81.12.77.140 dsl-mum-dynamic-140.77.12.81.airtel.in static-140.77.12.81-tataidc.co.in
81.12.77.140 81-12-77-140.user3p.brasiltelecom.net.br b510c4d8c.virtua.com.br 81-12-77-140.user.veloxzone.com.br
81.12.77.140 81-12-77-140.dsl.telesp.net.br dsl-81-12-77-140-dyn.prod-infinitum.com.mx host140.81-12-77.telecom.net.ar
81.12.77.140 81-12-77-140.speedy.com.ar pc-140-77-12-81.cm.vtr.net 81-12-77-140.baf.movistar.cl
81.12.77.140 CPE-81-12-77-140.abc.bigpond.net.au 81-12-77-140.dyn.iinet.net.au ppp81-12.bras2.adl6.internode.on.net
81.12.77.140 81-12-77-140.adsl.xtra.co.nz dsl-81-12-77-140.dsl.saix.net 81-12-77-140.mobile.uscc.net
81.12.77.140 mobile-081-012-077-140.mycingular.net 81.sub-12-77-140.myvzw.com tmo-140-77.customers.d1-online.com
81.12.77.140 ec2-81-12-77-140.us-east-2.compute.amazonaws.com 140.77.12.81.bc.googleusercontent.com
81.12.77.140 static.140.77.12.81.clients.your-server.de vps-1a2b3c4d.vps.ovh.net ip140.ip-81-12-77.eu
81.12.77.140 vmi123456.contaboserver.net li1234-140.members.linode.com 140.77.12.81.host.secureserver.net
81.12.77.140 81-12-77-140.ip.linodeusercontent.com 81.12.77.140.vultrusercontent.com h2912345.stratoserver.net
81.12.77.140 v22019112345.nicesrv.yourvserver.net srv123456.hstgr.cloud vps12345.hoster.example
81.12.77.140 mail.81-12-77-140.isp.example mail.140.77.12.81.isp.example smtp-81-12-77-140.isp.example
81.12.77.140 mail.dsl-123.isp.example
81.12.77.140 host1359760780.isp.example host811277140.isp.example 081.012.077.140.isp.example h081012077140.isp.example
81.12.77.140 51-0c-4d-8c.isp.example 8c4d0c51.isp.example x4d8c.isp.example 140-77.isp.example n77-140.isp.example
81.12.77.140 n77h140.isp.example 12-77-140.isp.example host77140.pool.isp.example h077140.isp.example
81.12.77.140 77-12-140-81.isp.example
81.12.77.140 dyn12.isp.example dynamic-12.isp.example dhcp-12.isp.example ppp12.isp.example pool-12.isp.example
81.12.77.140 cable12.isp.example cust12.isp.example broadband12.isp.example mobile-12.isp.example pppoe12.isp.example
81.12.77.140 cust-12.dsl.isp.example 12.dialup.isp.example user12.isp.example client-12.isp.example
81.12.77.140 adsl-pool-12.isp.example
81.12.77.140 gprs12.isp.example lte-12.isp.example ftth-12.isp.example cgnat-12.isp.example wifi12.isp.example
81.12.77.140 vps12.isp.example 81.12.77.140 81-12-77-140 81-12-77-140.com host-77-140.81-12.isp.example
81.12.77.141 81-12-77-140.isp.example
2.1.77.140 p140.n77.isp.example
"""

LINES6 = """
2001:db8:1:2:3:4:5:6 2001-db8-1-2-3-4-5-6.isp.example 2001-0db8-0001-0002-0003-0004-0005-0006.isp.example
2001:db8:1:2:3:4:5:6 20010db8000100020003000400050006.isp.example p20010DB8000100020003000400050006.dip0.t-ipconnect.de
2001:db8:1:2:3:4:5:6 6.0.0.0.5.0.0.0.4.0.0.0.3.0.0.0.2.0.0.0.1.0.0.0.8.b.d.0.1.0.0.2.ip6.isp.example
2001:db8:1:2:3:4:5:6 2.0.0.1.0.d.b.8.0.0.0.1.0.0.0.2.0.0.0.3.0.0.0.4.0.0.0.5.0.0.0.6.isp.example
2001:db8:1:2:3:4:5:6 6-5-4-3-2-1-db8-2001.isp.example 2001_db8_1_2_3_4_5_6.v6.isp.example
2001:db8:1:2:3:4:5:6 0003000400050006.v6.isp.example 20010db800010002.isp.example 2001-db8-1.isp.example
2001:db8:1:2:3:4:5:6 node-3-4-5-6.isp.example host.2001-db8-1-2.isp.example mail.2001-db8-1-2-3-4-5-6.isp.example
2001:db8::cafe:1 2001-db8--cafe-1.isp.example 2001-db8-cafe-1.isp.example 2001-db8-0-0-0-0-cafe-1.isp.example
2001:db8::cafe:1 g2001-db8--cafe-1.x.2001-db8--cafe-1.isp.example dyn6-12.isp.example dhcpv6-12.isp.example
2001:db8:1:2:211:22ff:fe33:4455 host-001122334455.isp.example 00-11-22-33-44-55.isp.example
2001:db8:1:2:211:22ff:fe33:4455 021122fffe334455.v6.isp.example 2001-db8-1-2-211-22ff-fe33-4455.cust.isp.example
2001:db8:ffff:eeee:dddd:cccc:bbbb:aaaa 20010db8ffffeeeeddddccccbbbbaaaa.isp.example
2001:db8:ffff:eeee:dddd:cccc:bbbb:aaaa ffff.eeee.dddd.cccc.bbbb.aaaa.2001.db8
2001:db8:ffff:eeee:dddd:cccc:bbbb:aaaa aaaabbbbccccddddeeeeffff8bd01002.isp.example dddd-cccc-bbbb-aaaa.isp.example
2002:510c:4d8c::1 81-12-77-140.isp.example
64:ff9b::510c:4d8c 140.77.12.81.isp.example
2001:db8::5 81-12-77-140.dualstack.isp.example
"""

SERVERS = """
209.85.208.41 mail-ed1-f41.google.com
209.85.128.181 mail-yw1-f181.google.com mail-lf1-f181.google.com
209.85.1.41 mail-ed1-f41.google.com
2a00:1450:4864:20::32f mail-wm1-x32f.google.com mail-lj1-x22d.google.com
52.101.21.12 mail-am6eur05on2112.outbound.protection.outlook.com mail-db8eur05lp2109.outbound.protection.outlook.com
40.107.22.112 mail-am6eur05on2112.outbound.protection.outlook.com mail-bn8nam12on2045.outbound.protection.outlook.com
2a01:111:f403:2e07::706 mail-ve1eur03on20706.outbound.protection.outlook.com
54.240.10.21 a10-21.smtp-out.amazonses.com a8-55.smtp-out.us-west-2.amazonses.com
54.240.7.12 a7-12.smtp-out.eu-west-1.amazonses.com e234-2.smtp-out.us-east-2.amazonses.com
168.245.12.34 o12.ptr1234.sendgrid.net o1.ptr5678.sendgrid.net wrqvtbkv.outbound-mail.sendgrid.net
148.163.156.1 mx0a-001b2d01.pphosted.com mx0b-001b2d01.pphosted.com mx0a-00082601.pphosted.com
212.227.15.12 smtp-out-12.gmx.net mout.gmx.net mout-xforward.gmx.net mout.kundenserver.de mout.perfora.net mout.web.de
66.163.189.20 sonic312-20.consmr.mail.ne1.yahoo.com sonic306-21.consmr.mail.ir2.yahoo.com
66.163.1.20 sonic304-24.consmr.mail.bf2.yahoo.com
198.2.133.4 mail133-4.atl131.mandrillapp.com mail12.atl161.mcsv.net mail4.sea31.mcsv.net
69.72.204.12 m204-12.mailgun.net m12.eu.mailgun.net
192.0.2.7 mta-7.sparkpostmail.com mta174.sparkpostmail.com o194.p12.mailjet.com mta12.e.exacttarget.com
192.0.2.7 smtp80.iad3a.emailsrvr.com mail1.bemta25.messagelabs.com us-smtp-delivery-1.mimecast.com
192.0.2.7 eu-smtp-1.mimecast.com mail-40131.protonmail.ch mail-4316.protonmail.ch out1-smtp.messagingengine.com
192.0.2.7 fout-a1-smtp.messagingengine.com wout5-smtp.messagingengine.com out-173.mta0.migadu.com
192.0.2.7 sender4-op-o12.zoho.com sender11-of-o52.zoho.eu mx12.hostpark.example relay7-d.mail.gandi.net
192.0.2.7 mo12.mail-out.ovh.net 7.mo550.mail-out.ovh.net smtpout1.mo528.mail-out.ovh.net msg-1.mailo.com
192.0.2.7 smtp-190d.mail.infomaniak.ch smtp-8fa8.mail.infomaniak.ch dedi1.mail.example.net mailout12.t-online.de
192.0.2.7 mailout-l3b-97.contactoffice.com fwd71.t-online.de mout-p-201.mailbox.org mout-u-204.mailbox.org
192.0.2.7 resqmta-ch2-01v.sys.comcast.net resqmta-c1p-023463.sys.comcast.net omta-a12.mail.cox.net
192.0.2.7 smtp-relay-1.broadband.example.net vsmx012.vodafonemail.xion.oxcs.net smtpout7.libero.it
192.0.2.7 forward501a.mail.yandex.net f742.i.mail.ru smtp16.i.mail.ru fallback12.i.mail.ru relay12.mail.example
192.0.2.7 mail7.example.org smtp2.example.org mx1.example.org mx-out-07.example.org mta03.example.org
192.0.2.7 mail.example.org smtp.example.org www.example.org example.org gate.example.org exchange.example.org
192.0.2.7 srv1.example.org server12.example.org host7.example.org static-7.example.net web03.example.org ns1.example.org
192.0.2.7 vger.kernel.org lists.debian.org bendel.debian.org mxout.freebsd.org mail-out1.apple.com
192.0.2.7 rn-mailsvcp-ppex-lapp14.apple.com ma1-aaemail-dr-lapp01.apple.com maile-fa.linkedin.com
192.0.2.7 out-25.smtp.github.com out-19.smtp.github.com spruce-goose-ax.twitter.com mail-pool-3.example.org
192.0.2.7 smtp-pool12.example.org pool12.mx.example.org outbound12.example.org newsletter3.example.org
192.0.2.7 bounce7.example.org
192.0.2.7 p3plsmtpa07-10.prod.phx3.secureserver.net ms-omx07.so-net.ne.jp msr12.hinet.net eastrmfepo103.cox.net
192.0.2.7 mobile.example.org dsl.isp.example dynamic.isp.example pool.isp.example mail1.dsl.isp.example
192.0.2.7 smtp-dsl-1.isp.example mail.163.com m15-112.126.com mx1.qq.com
203.205.221.12 out203-205-221-12.mail.qq.com
66.220.144.145 66-220-144-145.mail-mail.facebook.com 66-220-155-140.mail-mail.facebook.com
2001:db8::7 mail.example.org mail7.example.org mx1.example.org srv1.example.org static-7.example.net
"""


def pairs(text: str) -> list[tuple[str, str]]:
    """(name, address) of each name."""
    return [(name, line.split()[0]) for line in text.strip().splitlines() for name in line.split()[1:]]
