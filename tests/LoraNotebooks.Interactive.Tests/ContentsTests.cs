using System.Collections;
using System.Data;

namespace LoraNotebooks.Interactive.Tests;

/// <summary>What is taken out of values before they are shown: items, fields, members.</summary>
public class ContentsTests
{
    [Fact]
    public void Sample_OfASequence_TakesSoManyAndKnowsWhetherThereIsMore()
    {
        static (object?[] Items, long? Count, bool HasMore) Of(IEnumerable sequence, int most)
        {
            var sample = Sample.Of(sequence, most);
            return ([.. sample.Items], sample.Count, sample.HasMore);
        }

        Assert.Equivalent((new object?[] { 1, 2 }, (long?)2, false), Of(new[] { 1, 2 }, 3));
        Assert.Equivalent((new object?[] { 1, 2 }, (long?)2, false), Of(new[] { 1, 2 }, 2));
        Assert.Equal((1, 2, true), Facts(Of(new[] { 1, 2 }, 1)));
        Assert.Equal((1, 3, true), Facts(Of(new Queue<int>([1, 2, 3]), 1)));
        Assert.Equal((1, 3, true), Facts(Of(new HashSet<int>([1, 2, 3]), 1)));
        Assert.Equal((1, null, true), Facts(Of(Enumerable.Range(1, 3).Where(i => i > 0), 1)));
        Assert.Equal((1, null, true), Facts(Of(new Uncountable(), 1)));
        Assert.Equal((2, 2, false), Facts(Of(Broken(), 2)));
        Assert.Equal("(InvalidOperationException: no more)", Of(Broken(), 2).Items[1]!.ToString());
        Assert.Equal((0, 0, false), Facts(Of(Array.Empty<int>(), 1)));

        static (int, long?, bool) Facts((object?[] Items, long? Count, bool HasMore) sample) => (sample.Items.Length, sample.Count, sample.HasMore);
    }

    [Fact]
    public void Members_OfATypesObjects_AreReadablePropertiesThenFields()
    {
        Assert.Equal(["Second", "First", "Bad", "Field"], Members.Of(typeof(Odd)).Select(member => member.Name));
        Assert.Equal(
            [2, 1, "(InvalidOperationException: no)", 3],
            Members.Of(typeof(Odd)).Select(member => member.Read(new Odd()) is Fault fault ? fault.ToString() : member.Read(new Odd())));
        Assert.Equal("new", Assert.Single(Members.Of(typeof(Hiding))).Read(new Hiding()));
        Assert.Equal(
            Enumerable.Range(1, 15).Select(i => $"Item{i}"),
            Members.Of((1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15).GetType()).Select(member => member.Name));
        Assert.Equal([1, "b"], Members.Of(typeof((int, string))).Select(member => member.Read((1, "b"))));
        Assert.Equal(["Item1"], Members.Of(typeof(Tuple<int>)).Select(member => member.Name));
        Assert.Same(Members.Of(typeof(Odd)), Members.Of(typeof(Odd)));
        Assert.Equal("(InvalidOperationException: mine)", new Member("m", _ => throw new InvalidOperationException("mine")).Read(1)!.ToString());
    }

    [Fact]
    public void Fault_LongMessage_IsCutToALine()
    {
        Assert.Equal($"(IOException: {new string('x', 120)})", new Fault(new IOException(new string('x', 120))).ToString());
        Assert.Equal($"(IOException: {new string('x', 120)}…)", new Fault(new IOException(new string('x', 121))).ToString());
    }

    [Fact]
    public void Named_Rows_AreThoseWhoseFieldsHaveNames()
    {
        using var table = new DataTable();
        table.Columns.Add("a", typeof(int));
        table.Columns.Add("b", typeof(string));
        var row = table.Rows.Add(1, DBNull.Value);
        KeyValuePair<string, object?>[] fields = [new("a", 1), new("b", null)];
        Assert.Equal(fields, Contents.Named(row));
        Assert.Equal(fields, Contents.Named(table.DefaultView[0]));
        Assert.Equal(fields, Contents.Named(new Dictionary<string, object?> { ["a"] = 1, ["b"] = null }));
        Assert.Equal(fields[..1], Contents.Named(new Hashtable { ["a"] = 1 }));
        Assert.Equal(fields[..1], Contents.Named(new Dictionary<string, int> { ["a"] = 1 }));
        Assert.Null(Contents.Named(new Hashtable { ["a"] = 1, [2] = 2 }));
        Assert.Null(Contents.Named(new[] { 1 }));
        Assert.Null(Contents.Named(null));
        Assert.Null(Contents.Named(Newtonsoft.Json.Linq.JObject.Parse("{\"a\": 1}")));
        Assert.Null(Contents.Field(DBNull.Value));
        Assert.Equal(1, Contents.Field(1));
    }

    [Fact]
    public void IsJsonToken_OnlyNewtonsofts_AreOnes()
    {
        Assert.True(Contents.IsJsonToken(typeof(Newtonsoft.Json.Linq.JToken)));
        Assert.True(Contents.IsJsonToken(typeof(Newtonsoft.Json.Linq.JObject)));
        Assert.False(Contents.IsJsonToken(typeof(object)));
        Assert.False(Contents.IsJsonToken(null));
    }

    [Fact]
    public void Of_Memory_IsItsItemsWithoutACopy()
    {
        var numbers = new[] { 1, 2, 3, 4 };
        foreach (var held in (object[])[new Memory<int>(numbers, 1, 2), new ReadOnlyMemory<int>(numbers, 1, 2)])
        {
            numbers[1] = 7;
            var items = Assert.IsAssignableFrom<IReadOnlyCollection<int>>(Contents.Of(held));
            Assert.Equal(2, items.Count);
            numbers[1] = 9;
            Assert.Equal([9, 3], items);
            Assert.Equal([9, 3], ((IEnumerable)items).Cast<int>());
        }

        Assert.Equal("abc", Contents.Of("abc".ToCharArray().AsMemory()));
        Assert.Equal("bc", Contents.Of("abc".AsMemory(1)));
        Assert.Equal(5, Contents.Of(5));
        var list = new List<int>();
        Assert.Same(list, Contents.Of(list));
    }

    [Fact]
    public async Task Of_EndlessAsynchronousSequence_IsEndedWhenEnoughIsTaken()
    {
        var ended = new TaskCompletionSource<bool>();
        async IAsyncEnumerable<int> Endless([System.Runtime.CompilerServices.EnumeratorCancellation] CancellationToken cancellation = default)
        {
            try
            {
                for (var i = 0; ; i++)
                {
                    await Task.Yield();
                    yield return i;
                }
            }
            finally
            {
                ended.SetResult(cancellation.IsCancellationRequested);
            }
        }

        Assert.Equal([0, 1, 2], ((IEnumerable<int>)Contents.Of(Endless())).Take(3));
        Assert.True(await ended.Task.WaitAsync(TimeSpan.FromSeconds(30)));
    }

    [Fact]
    public void Of_SequenceThatIsBoth_IsReadAtOnce()
    {
        var both = new Both();
        Assert.Same(both, Contents.Of(both));
    }

    private static IEnumerable<int> Broken()
    {
        yield return 1;
        throw new InvalidOperationException("no more");
    }

    private sealed class Uncountable : ICollection
    {
        public int Count => throw new InvalidOperationException();

        public bool IsSynchronized => false;

        public object SyncRoot => this;

        public void CopyTo(Array array, int index) => throw new NotSupportedException();

        public IEnumerator GetEnumerator() => new[] { 1, 2 }.GetEnumerator();
    }

    private sealed class Both : List<int>, IAsyncEnumerable<int>
    {
        public IAsyncEnumerator<int> GetAsyncEnumerator(CancellationToken cancellationToken = default) => throw new NotSupportedException();
    }

    private sealed class Odd
    {
#pragma warning disable CS0649
        public int Field = 3;
        public static int Shared = 4;
        private readonly int _hidden = 5;
#pragma warning restore CS0649

        public int Second => 2;

        public int First => 1;

        public int Bad => throw new InvalidOperationException("no");

        public int this[int index] => index;

        public ReadOnlySpan<int> Span => [1];

        public ref readonly int Reference => ref _hidden;

        public int WriteOnly
        {
            set => _ = value;
        }

        public int PrivatelyRead { private get; set; }

        internal int Inner => 6;

        private int Own => PrivatelyRead;

        public override string ToString() => $"{Own}";
    }

    private class Hidden
    {
        public string Name => "old";
    }

    private sealed class Hiding : Hidden
    {
        public new string Name => "new";
    }
}
