using System.Collections;
using System.Globalization;
using System.Numerics;
using System.Text.Json;
using System.Text.Json.Nodes;

namespace LoraNotebooks.Interactive.Tests;

/// <summary>Values as text: every kind, and the bounds to the letter.</summary>
public class ValueTextTests
{
    private const int Much = 20_000;

    // Kept apart from the theory's data, which xunit would send through its runner.
    private static readonly Dictionary<string, (object? Value, string Expected)> Values = new()
    {
        ["nothing"] = (null, "null"),
        ["nothing inside"] = (new object?[] { null }, "[null]"),
        ["letter"] = ('a', "a"),
        ["letter inside"] = (new { A = 'a' }, "new { A = 'a' }"),
        ["text inside"] = (new { A = "a" }, "new { A = \"a\" }"),
        ["truths"] = (new[] { true, false }, "[true, false]"),
        ["byte"] = (byte.MaxValue, "255"),
        ["sbyte"] = (sbyte.MinValue, "-128"),
        ["short"] = (short.MinValue, "-32768"),
        ["ushort"] = (ushort.MaxValue, "65535"),
        ["int"] = (int.MinValue, "-2147483648"),
        ["uint"] = (uint.MaxValue, "4294967295"),
        ["long"] = (long.MinValue, "-9223372036854775808"),
        ["ulong"] = (ulong.MaxValue, "18446744073709551615"),
        ["huge"] = (Int128.MaxValue, "170141183460469231731687303715884105727"),
        ["big"] = (BigInteger.Pow(10, 30), "1000000000000000000000000000000"),
        ["native"] = ((nint)(-5), "-5"),
        ["half"] = ((Half)0.5, "0.5"),
        ["float"] = (0.1f, "0.1"),
        ["double"] = (-1234567.125, "-1234567.125"),
        ["small"] = (1e-20, "1E-20"),
        ["not a number"] = (double.NaN, "NaN"),
        ["endless"] = (double.NegativeInfinity, "-Infinity"),
        ["decimal"] = (1.50m, "1.50"),
        ["complex"] = (new Complex(1, -2), "<1; -2>"),
        ["identifier"] = (Guid.Empty, "00000000-0000-0000-0000-000000000000"),
        ["length of time"] = (new TimeSpan(1, 2, 3, 4, 500), "1.02:03:04.5000000"),
        ["local time"] = (new DateTime(2026, 1, 2, 3, 4, 5, DateTimeKind.Local), "2026-01-02 03:04:05"),
        ["world's time"] = (new DateTime(2026, 1, 2, 3, 4, 5, DateTimeKind.Utc), "2026-01-02 03:04:05Z"),
        ["pair"] = (KeyValuePair.Create("a", 1), "[\"a\"] = 1"),
        ["entry"] = (new DictionaryEntry("a", 1), "[\"a\"] = 1"),
        ["dictionary"] = (new Dictionary<string, int> { ["a"] = 1, ["b"] = 2 }, "[[\"a\"] = 1, [\"b\"] = 2]"),
        ["empty"] = (Array.Empty<int>(), "[]"),
        ["tuple of nine"] = ((1, 2, 3, 4, 5, 6, 7, 8, 9), "(1, 2, 3, 4, 5, 6, 7, 8, 9)"),
        ["side by side"] = (Twice(new Leaf { A = 1 }), "[Leaf { A = 1 }, Leaf { A = 1 }]"),
        ["dictionary of texts"] = (new Dictionary<string, string> { ["a"] = "b" }, "[[\"a\"] = \"b\"]"),
        ["tensor inside"] = (new { A = TorchSharp.torch.zeros(2) }, "new { A = [2], type = Float32, device = cpu }"),
        ["without members"] = (new Bare(), "Bare"),
        ["without members inside"] = (new { A = new Bare() }, "new { A = Bare }"),
        ["speaks for itself"] = (new { A = new Speaker() }, "new { A = I speak }"),
        ["type inside"] = (new { A = typeof(int?) }, "new { A = int? }"),
        ["function inside"] = (new { A = (Func<string, int>)int.Parse }, "new { A = Func<string, int> Parse }"),
        ["error inside"] = (new { A = new IOException("gone\nfor good") }, "new { A = (IOException: gone for good) }"),
        ["cancelled task"] = (Task.FromCanceled(new CancellationToken(true)), "Task, cancelled"),
        ["task without a value"] = (Task.CompletedTask, "Task, completed"),
        ["asynchronous method"] = (Async(7), "Task, completed: 7"),
        ["asynchronous method without a value"] = (Async(), "Task, completed"),
        ["task of a text"] = (Task.FromResult("a"), "Task, completed: \"a\""),
        ["task inside"] = (new { A = Task.FromResult("a") }, "new { A = Task, completed: \"a\" }"),
        ["task of several faults"] = (
            Task.WhenAll(Task.FromException(new IOException("one")), Task.FromException(new IOException("two"))),
            "Task, failed (IOException: one)"),
        ["element"] = (JsonDocument.Parse("[1, \"a\"]").RootElement, "[1, \"a\"]"),
        ["document"] = (JsonDocument.Parse("{\"a\": 1}"), "{\"a\": 1}"),
        ["node inside"] = (new { A = JsonValue.Create(1) }, "new { A = 1 }"),
        ["closed stream"] = (Closed(), "MemoryStream, closed"),
        ["stream of one"] = (new MemoryStream([1]) { Position = 1 }, "MemoryStream, at 1 of 1 byte"),
        ["bytes"] = (new byte[32], "byte[32] " + new string('0', 64)),
        ["a byte more"] = (new byte[33], "byte[33] " + new string('0', 64) + "…"),
        ["no bytes"] = (Array.Empty<byte>(), "byte[0] "),
        ["twenty members"] = (new Twenty(), $"Twenty {{ {string.Join(", ", "ABCDEFGHIJKLMNOPQRST".Select(name => $"{name} = 0"))} }}"),
        ["a member more"] = (
            new TwentyOne(),
            $"TwentyOne {{ U = 0, {string.Join(", ", "ABCDEFGHIJKLMNOPQRS".Select(name => $"{name} = 0"))}, … (21 in all) }}"),
        ["a hundred items"] = (Enumerable.Range(0, 100).ToArray(), $"[{string.Join(", ", Enumerable.Range(0, 100))}]"),
        ["an item more"] = (Enumerable.Range(0, 101).ToArray(), $"[{string.Join(", ", Enumerable.Range(0, 100))}, … (101 in all)]"),
        ["an item more, old list"] = (new ArrayList(Enumerable.Range(0, 101).ToArray()), $"[{string.Join(", ", Enumerable.Range(0, 100))}, … (101 in all)]"),
        ["an item more, own list"] = (new Counted(101), $"[{string.Join(", ", Enumerable.Range(0, 100))}, … (101 in all)]"),
        ["an item more, uncounted"] = (Enumerable.Range(0, 101).Where(i => i >= 0), $"[{string.Join(", ", Enumerable.Range(0, 100))}, …]"),
        ["five hundred letters inside"] = (new { A = new string('x', 500) }, $"new {{ A = \"{new string('x', 500)}\" }}"),
        ["a letter more inside"] = (new { A = new string('x', 501) }, $"new {{ A = \"{new string('x', 460)}… (501 characters in all)\" }}"),
        ["objects in objects"] = (Chain(6), "Link { Next = Link { Next = Link { Next = Link { Next = Link { … } } } } }"),
        ["sequences in objects"] = (new { A = new { B = new { C = new { D = new[] { 1 } } } } }, "new { A = new { B = new { C = new { D = int[] […] } } } }"),
        ["just deep enough"] = (new { A = new { B = new { C = new[] { 1 } } } }, "new { A = new { B = new { C = [1] } } }"),
        ["through another"] = (Ring(), "Link { Next = Link { Next = (the same Link again) } }"),
    };

    public static TheoryData<string> Names => [.. Values.Keys];

    [Theory]
    [MemberData(nameof(Names))]
    public void Of_Value_IsReadable(string name) => Assert.Equal(Values[name].Expected, ValueText.Of(Values[name].Value, Much));

    [Fact]
    public void Of_Error_IsItsWholeText()
    {
        var error = new IOException("gone");
        Assert.Equal(error.ToString(), ValueText.Of(error, Much));
    }

    [Fact]
    public void Of_FileStream_NamesItsFileAlsoWhenItIsClosed()
    {
        var path = Path.GetTempFileName();
        try
        {
            using var stream = new FileStream(path, FileMode.Open);
            Assert.Equal($"FileStream {path}, at 0 of 0 bytes", ValueText.Of(stream, Much));
            stream.Dispose();
            Assert.Equal($"FileStream {path}, closed", ValueText.Of(stream, Much));
        }
        finally
        {
            File.Delete(path);
        }
    }

    [Theory]
    [InlineData(true, false)]
    [InlineData(false, true)]
    public void Of_StreamThatCannotSeek_SaysWhatItIs(bool canRead, bool canWrite) => Assert.Equal("Pipe", ValueText.Of(new Pipe(canRead, canWrite), Much));

    [Fact]
    public void Of_Numbers_AreTheSameInEveryCulture()
    {
        var before = CultureInfo.CurrentCulture;
        CultureInfo.CurrentCulture = (CultureInfo)CultureInfo.InvariantCulture.Clone();
        CultureInfo.CurrentCulture.NumberFormat = new NumberFormatInfo { NumberDecimalSeparator = "¤", NumberGroupSeparator = "¤", NegativeSign = "¤" };
        try
        {
            Assert.Equal("[-1.5, 2.5]", ValueText.Of(new object[] { -1.5, 2.5m }, Much));
        }
        finally
        {
            CultureInfo.CurrentCulture = before;
        }
    }

    [Theory]
    [InlineData(100, 100, "x*100")]
    [InlineData(101, 100, "x*60 … (101 characters in all)")]
    [InlineData(1_234_567, 100, "x*60 … (1,234,567 characters in all)")]
    [InlineData(41, 40, " … (41 characters in all)")]
    [InlineData(10, 9, " … (10 cha…")]   // the note itself is longer
    public void Of_Text_IsShownWholeToTheLimitAndBeyondItSaysHowLongItIs(int length, int most, string expected)
    {
        var (letters, note) = expected.Split(' ', 2) is [var left, var right] ? (left, right) : (expected, "");
        var count = letters.Length == 0 ? 0 : int.Parse(letters[2..], CultureInfo.InvariantCulture);
        Assert.Equal(new string('x', count) + note, ValueText.Of(new string('x', length), most));
    }

    [Fact]
    public void Of_Parts_AreCutAtTheLimit()
    {
        Assert.Equal("[1, 2, 3]", ValueText.Of(new[] { 1, 2, 3 }, 9));
        Assert.Equal("[1, 2, 3…", ValueText.Of(new[] { 1, 2, 3 }, 8));
        Assert.Equal("…", ValueText.Of(new[] { 1, 2, 3 }, 0));
        var asked = 0;
        var items = Enumerable.Range(0, 100).Select(_ => (object)new Counting(() => asked++)).ToArray();
        Assert.Equal("[counted, counted, …", ValueText.Of(items, 19));
        Assert.Equal(3, asked);
        Assert.Equal("counted, counted, c…", ValueText.Cell(items, 19));
        Assert.Equal(6, asked);
        Assert.Equal("new { A = …", ValueText.Of(new { A = "long", B = items[0] }, 10));
        Assert.Equal(6, asked);
    }

    [Fact]
    public void Of_SequenceWhoseItemsAreTaken_IsNotAskedAgainAndKnowsItself()
    {
        var list = new List<object>();
        list.Add(list);
        Assert.Equal("[(the same List<object> again), … (1,000 in all)]", ValueText.Of(list, new Sample([list], 1_000, HasMore: true), Much));
        Assert.Equal("[1, …]", ValueText.Of(list, new Sample([1], null, HasMore: true), Much));
        Assert.Equal("[1]", ValueText.Of(list, new Sample([1], 1, HasMore: false), Much));
    }

    [Fact]
    public void Cell_Value_IsOneLine()
    {
        (object? Value, string Expected)[] cells =
        [
            (null, ""), ("a\r\nb\tc", "a b c"), (1234.5678, "1234.6"), (1234.5678f, "1234.6"), (2024.0f, "2024"),
            (1234.5678m, "1234.5678"), (true, "true"), ('a', "'a'"),
            (new byte[] { 1, 255 }, "byte[2] 01FF"), (JsonNode.Parse("[1]"), "[   1 ]"), (new[,] { { 1, 2 }, { 3, 4 } }, "[1, 2, 3, 4]"),
            (new[] { 1.25, 2 }, "1.25, 2"), (new[] { "a", "b" }, "a, b"), (new object[] { new[] { 1, 2 }, "a", null! }, "[1, 2], a, "),
            (Array.Empty<int>(), ""),
            (Enumerable.Range(1, 3).Select(i => i), "1, 2, 3"), (new List<int> { 1 }, "1"), (Newtonsoft.Json.Linq.JArray.Parse("[1]"), "[   1 ]"),
            (new { A = new[] { 1 } }, "new { A = [1] }"), (typeof(int), "int"),
        ];
        Assert.All(cells, cell => Assert.Equal(cell.Expected, ValueText.Cell(cell.Value, 200)));
        Assert.Equal(string.Join(", ", Enumerable.Repeat(7, 100)), ValueText.Cell(Enumerable.Repeat(7, 100), 1_000));
        Assert.Equal(string.Join(", ", Enumerable.Repeat(7, 100)) + ", …", ValueText.Cell(Enumerable.Repeat(7, 101), 1_000));
        Assert.Equal("1, 2, 3…", ValueText.Cell(Enumerable.Range(1, 50), 7));
        Assert.Equal("1, 2, 3", ValueText.Cell(Enumerable.Range(1, 3), 7));
    }

    [Fact]
    public void Line_Text_IsCutAtTheLimitAndHasNoControlCharacters()
    {
        Assert.Equal("abc", ValueText.Line("abc", 3));
        Assert.Equal("abc…", ValueText.Line("abcd", 3));
        Assert.Equal("a b c d", ValueText.Line("a\nb\u0007c\u0085d", 7));
        Assert.Equal("a b", ValueText.Line("a\r\nb", 4));
        Assert.Equal("a b c", ValueText.Line("a\u2028b\u2029c", 5));
    }

    [Theory]
    [InlineData(typeof(Speaker), true)]
    [InlineData(typeof(Version), true)]
    [InlineData(typeof(Bare), false)]
    [InlineData(typeof(object), false)]
    [InlineData(typeof(Value), false)]
    [InlineData(typeof(Written), false)]
    [InlineData(typeof(Heir), true)]
    public void SpeaksForItself_Type_DoesWhereItsAuthorWroteATextForIt(Type type, bool expected)
    {
        Assert.Equal(expected, ValueText.SpeaksForItself(type));
        Assert.False(ValueText.SpeaksForItself(new { A = 1 }.GetType()));
    }

    private static object[] Twice(object one) => [one, one];

    private static Link Chain(int length) => new() { Next = length == 1 ? null : Chain(length - 1) };

    private static Link Ring()
    {
        var (one, other) = (new Link(), new Link());
        (one.Next, other.Next) = (other, one);
        return one;
    }

    private static async Task<int> Async(int value)
    {
        await Task.CompletedTask;
        return value;
    }

    private static async Task Async() => await Task.CompletedTask;

    private static MemoryStream Closed()
    {
        var stream = new MemoryStream();
        stream.Dispose();
        return stream;
    }

    private sealed class Bare;

    private struct Value;

    private record Written(int A);

    private sealed record Heir(int A) : Written(A)
    {
        public override string ToString() => "I speak";
    }

    private sealed class Counted(int count) : IReadOnlyCollection<int>
    {
        public int Count => count;

        public IEnumerator<int> GetEnumerator() => Enumerable.Range(0, count).GetEnumerator();

        IEnumerator IEnumerable.GetEnumerator() => GetEnumerator();
    }

    private sealed class Leaf
    {
        public int A { get; init; }
    }

    private sealed class Speaker
    {
        public int A => 1;

        public override string ToString() => "I speak";
    }

    private sealed class Counting(Action asked)
    {
        public override string ToString()
        {
            asked();
            return "counted";
        }
    }

    private sealed class Link
    {
        public Link? Next { get; set; }
    }

    private class Twenty
    {
#pragma warning disable CS0649 // never set: what counts is that they are there
        public int A, B, C, D, E, F, G, H, I, J, K, L, M, N, O, P, Q, R, S, T;
    }

    private sealed class TwentyOne : Twenty
    {
        public int U;
#pragma warning restore CS0649
    }

    private sealed class Pipe(bool canRead, bool canWrite) : MemoryStream
    {
        public override bool CanSeek => false;

        public override bool CanRead => canRead;

        public override bool CanWrite => canWrite;
    }
}
