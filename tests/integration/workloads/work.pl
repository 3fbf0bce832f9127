# Ordinary Perl work: hashes, nested data, regular expressions, sorting, string building, fork.
use strict;
use warnings;
use Data::Dumper;
use Digest::SHA qw(sha256_hex);

# Perl's own hash order is random on purpose; a generator of our own keeps the numbers the same on every run.
my $state = 7;
sub chance { my ($limit) = @_; $state = ($state * 1103515245 + 12345) % 2147483648; return int($state / 65536) % $limit; }

my %table;
for my $step (1 .. 200_000) {
    $table{ chance(30_000) } = 'value' x (1 + chance(20));
    delete $table{ chance(30_000) } if $step % 3 == 0;
}
print 'table ', scalar(keys %table), ' ', sha256_hex(join ',', map { "$_=$table{$_}" } sort keys %table), "\n";

my @rows = map { { id => $_, name => 'n' x chance(50), list => [ map { chance(1000) } 0 .. chance(20) ] } } 1 .. 8_000;
my @sorted = sort { $a->{name} cmp $b->{name} || $b->{list}[0] <=> $a->{list}[0] || $a->{id} <=> $b->{id} } @rows;
{
    local $Data::Dumper::Sortkeys = 1;
    print 'rows ', sha256_hex(Dumper(\@sorted)), "\n";
}

my $text = join ' ', map { chance(1000) . '-' . chr(97 + chance(6)) x (1 + chance(8)) } 1 .. 40_000;
my $count = () = $text =~ /(\d+)-((?:ab?|c+|[def]{2,})+)/g;
(my $swapped = $text) =~ s/(\d)(\d)/$2$1/g;
print "expressions $count ", sha256_hex($swapped), "\n";

my $growing = '';
$growing .= pack 'N', chance(32768) for 1 .. 300_000;
print 'growing ', length $growing, ' ', sha256_hex($growing), "\n";

$| = 1;
for my $number (1 .. 4) {
    my $child = fork // die "fork: $!";
    if ($child == 0) {
        my @mine = map { 'x' x chance(500) } 1 .. 5_000;
        print "child $number ", length(join '', @mine), "\n";
        exit $number;
    }
    waitpid $child, 0;
    print 'child ended with ', $? >> 8, "\n";
}
