# Ordinary Perl work: hashes, nested data, regular expressions, sorting, string building.
use strict;
use warnings;

# Perl's own hash order is random on purpose; a generator of our own keeps the numbers the same on every run.
my $state = 7;
sub chance { my ($limit) = @_; $state = ($state * 1103515245 + 12345) % 2147483648; return int($state / 65536) % $limit; }

my %table;
for my $step (1 .. 300_000) {
    $table{ chance(30_000) } = 'value' x (1 + chance(20));
    delete $table{ chance(30_000) } if $step % 3 == 0;
}
my $length = 0;
$length += length for values %table;
print 'table ', scalar(keys %table), " $length\n";

my @rows = map { { id => $_, name => 'n' x chance(50), list => [ map { chance(1000) } 0 .. chance(20) ] } } 1 .. 20_000;
my @sorted = sort { $a->{name} cmp $b->{name} || $b->{list}[0] <=> $a->{list}[0] || $a->{id} <=> $b->{id} } @rows;
print "rows $sorted[0]{id} $sorted[-1]{id}\n";

my $text = join ' ', map { chance(1000) . '-' . chr(97 + chance(6)) x (1 + chance(8)) } 1 .. 60_000;
my %seen;
$seen{$2} .= $1 while $text =~ /(\d+)-([a-f]+)/g;
(my $swapped = $text) =~ s/(\d)(\d)/$2$1/g;
print 'expressions ', scalar(keys %seen), ' ', unpack('%32C*', $swapped), "\n";

my $growing = '';
$growing .= pack 'N', chance(32768) for 1 .. 200_000;
my @words = unpack 'N*', $growing;
print 'growing ', scalar(@words), ' ', unpack('%32C*', $growing), "\n";
