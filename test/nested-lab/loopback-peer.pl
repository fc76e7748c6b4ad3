# Runs in a guest: inserts vsock_loopback.ko, and says as hexadecimal digits what a program of the guest
# reads from the agent after it greeted it as the host does, and from a listener of its own, which echoes.
use strict;
my ($module) = @ARGV;
my ($agent_port, $own_port, $any) = (1024, 5000, 0xffffffff);
my $greeting = "VARV\x03\0\0\0";

open(my $file, '<', $module) or die "$module: $!";
my $arguments = '';
# finit_module
syscall(313, fileno($file), $arguments, 0) == 0 or die "the module is refused: $!";

# AF_VSOCK and struct sockaddr_vm of linux/vm_sockets.h
sub vsock { socket(my $it, 40, 1, 0) or die "no vsock: $!"; $it }
sub address { my ($cid, $port) = @_; pack('S S L L x4', 40, 0, $port, $cid) }

my $listener = vsock();
bind($listener, address($any, $own_port)) or die "bind: $!";
listen($listener, 8) or die "listen: $!";
my $echo = fork();
if ($echo == 0) {
  my $bytes;
  while (accept(my $peer, $listener)) { sysread($peer, $bytes, 64) and syswrite($peer, $bytes) }
  exit;
}
# It would hold the output open.
END { kill 'KILL', $echo if $echo }
$SIG{ALRM} = sub { die 'no end' };
alarm 60;
sub answer {
  my ($cid, $port) = @_;
  my $it = vsock();
  connect($it, address($cid, $port)) or return "connect: $!";
  syswrite($it, $greeting);
  my $bytes = '';
  sysread($it, $bytes, 64);
  unpack('H*', $bytes)
}
# CID 1 is the guest itself, and 3 the one that its machine has.
print join(',', map { my $cid = $_; map { answer($cid, $_) } $own_port, $agent_port } 1, 3), "\n";
