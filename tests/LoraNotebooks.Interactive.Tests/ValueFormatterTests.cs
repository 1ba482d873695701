using System.Collections;
using System.Text.Json.Nodes;
using LoraNotebooks.Data;
using Microsoft.Data.Analysis;
using SkiaSharp;
using TorchSharp;

namespace LoraNotebooks.Interactive.Tests;

public class ValueFormatterTests
{
    // Kept apart from the theory's data, which xunit disposes and sends through its runner.
    private static readonly Dictionary<string, (object Value, string Expected)> Values = new()
    {
        ["string"] = ("a\nb", "a\nb"),
        ["number"] = (1234.5, "1234.5"),
        ["enum"] = (DayOfWeek.Friday, "Friday"),
        ["date"] = (new DateTime(2026, 1, 2, 3, 4, 5), "2026-01-02 03:04:05"),
        ["day"] = (new DateOnly(2026, 1, 2), "2026-01-02"),
        ["bytes"] = (new byte[] { 1, 0xAB }, "byte[2] 01AB"),
        ["stream"] = (new MemoryStream([1, 2, 3]), "MemoryStream, at 0 of 3 bytes"),
        ["type"] = (typeof(Dictionary<string, int?[]>), "Dictionary<string, int?[]>"),
        ["delegate"] = ((Func<string, int>)int.Parse, "Func<string, int> Parse"),
        ["task"] = (Task.FromResult(7), "Task, completed: 7"),
        ["failed task"] = (Task.FromException(new IOException("gone")), "Task, failed (IOException: gone)"),
        ["open task"] = (new TaskCompletionSource<int>().Task, "Task, not yet completed"),
        ["tuple"] = ((1, "a"), "(1, \"a\")"),
        ["sequence"] = (new[] { 1, 2 }, "[1, 2]"),
        ["nested"] = (new[] { new[] { 1 }, [2, 3] }, "[[1], [2, 3]]"),
        ["object"] = (new object(), "object"),
        ["record"] = (new Point(1, new("x")), "Point { X = 1, Name = Label { Text = \"x\" } }"),
        ["anonymous"] = (new { A = 1, B = "x" }, "new { A = 1, B = \"x\" }"),
        ["fields"] = (new Pair { Left = 1, Right = 2 }, "Pair { Left = 1, Right = 2 }"),
        ["json"] = (JsonNode.Parse("""{"a":1}""")!, "{\n  \"a\": 1\n}"),
        ["tokens"] = (Newtonsoft.Json.Linq.JObject.Parse("""{"a":{"b":[1,"x"]}}"""), "{\n  \"a\": {\n    \"b\": [\n      1,\n      \"x\"\n    ]\n  }\n}"),
        ["array of tokens"] = (Newtonsoft.Json.Linq.JArray.Parse("""[{"a":1}]"""), "[\n  {\n    \"a\": 1\n  }\n]"),
        ["flags"] = (FileAttributes.ReadOnly | FileAttributes.Archive, "ReadOnly | Archive"),
        ["list of flags"] = (new[] { FileAttributes.ReadOnly | FileAttributes.Archive, FileAttributes.Hidden }, "[ReadOnly | Archive, Hidden]"),
        ["unnamed flag"] = ((FileAttributes)(1 << 30), "1073741824"),
        ["precise time"] = (new DateTime(2026, 1, 2, 3, 4, 5, 678, DateTimeKind.Utc).AddTicks(9), "2026-01-02 03:04:05.6780009Z"),
        ["time with offset"] = (new DateTimeOffset(2026, 1, 2, 3, 4, 5, 60, TimeSpan.FromHours(2)), "2026-01-02 03:04:05.06 +02:00"),
        ["time of day"] = (new TimeOnly(1, 2, 3, 4), "01:02:03.004"),
        ["memory"] = (new Memory<int>([1, 2, 3], 1, 2), "[2, 3]"),
        ["read-only memory"] = (new ReadOnlyMemory<double>([0.5]), "[0.5]"),
        ["memory of text"] = ("some text".AsMemory(5), "text"),
        ["memory inside"] = (new { A = new Memory<byte>([1, 2]) }, "new { A = [1, 2] }"),
        ["asynchronous sequence"] = (Later(3), "[0, 1, 2]"),
        ["faulty asynchronous sequence"] = (Later(-1), "[(InvalidOperationException: not now)]"),
        ["faulty"] = (new Faulty(), "Faulty { Bad = (InvalidOperationException: no), Good = 1 }"),
        ["faulty text"] = (new FaultyText(), "(InvalidOperationException: no text)"),
        ["faulty sequence"] = (Broken(), "[1, (InvalidOperationException: no more)]"),
        ["long sequence"] = (Enumerable.Range(0, 1_000_000).ToList(), "99, … (1,000,000 in all)]"),
        ["endless"] = (Endless(), "99, …]"),
    };

    public static TheoryData<string> Names => [.. Values.Keys];

    [Theory]
    [MemberData(nameof(Names))]
    public void Format_Value_HasAReadableText(string name)
    {
        var (value, expected) = Values[name];
        var text = Text(value);
        Assert.True(
            expected.StartsWith("99,", StringComparison.Ordinal) ? text.EndsWith(expected, StringComparison.Ordinal) : text == expected,
            $"{name}: {text}");
    }

    [Fact]
    public void Format_EndlessObjects_MakesATableOfTheFirst()
    {
        var made = 0;
        IEnumerable<object> Rows()
        {
            while (true)
            {
                yield return new { Number = made++, Text = "<b>" };
            }
        }

        var bundle = DisplayFormatter.Format(Rows());
        Assert.InRange(made, 40, 101);
        Assert.Contains("first 40 rows of more", bundle.Text(MimeTypes.Html));
        Assert.Contains("&lt;b&gt;", bundle.Text(MimeTypes.Html));
        Assert.DoesNotContain("<b>&lt;", bundle.Text(MimeTypes.Html));
        Assert.Contains("(first 40 rows of more)", bundle.Text(MimeTypes.PlainText));
    }

    [Fact]
    public void Format_SequencesOfObjects_MakeTables()
    {
        Assert.Contains(">Item2</th>", Html(new[] { (1, "a"), (2, "b") }));
        Assert.Contains(">Key</th>", Html(new Dictionary<string, int> { ["a"] = 1 }));
        Assert.Contains(">Key</th>", Html(new Hashtable { ["a"] = 1 }));
        Assert.Contains(">Left</th>", Html(new[] { new Pair(), new Pair() }));
        Assert.Contains(">null</td>", Html(new[] { new { A = "x" }, null }));
        Assert.Contains("InvalidOperationException: no", Html(new[] { new Faulty() }));
        Assert.Contains(">Id</th>", Html(new Base[] { new Derived { Id = 1, More = 2 }, new Base { Id = 3 } }));
        Assert.Contains("int[,] 2 × 3", Html(new int[2, 3]));
        Assert.Null(Html(new[] { 1, 2 }));
        Assert.Null(Html(Array.Empty<Pair>()));
        Assert.Null(Html("text"));
    }

    [Fact]
    public void Format_RowsOfNames_HaveAColumnForEach()
    {
        dynamic one = new System.Dynamic.ExpandoObject();
        (one.Name, one.Year) = ("a", 2024);
        dynamic two = new System.Dynamic.ExpandoObject();
        (two.Name, two.More) = ("b", 1.5);
        Assert.Equal("Name  Year  More\na     2024\nb            1.5", Text(new object[] { one, two }));
        Assert.Contains(">Year</td>", Html((object)one));
        Assert.Equal("x\n1\n2", Text(new[] { new Dictionary<string, int> { ["x"] = 1 }, new() { ["x"] = 2 } }));
    }

    [Fact]
    public void Format_DataTables_ShowTheirRows()
    {
        using var set = new System.Data.DataSet();
        var table = set.Tables.Add("runs");
        table.Columns.Add("seed", typeof(int));
        table.Columns.Add("note", typeof(string));
        table.Rows.Add(123456789, "good");
        table.Rows.Add(7, DBNull.Value);
        Assert.Equal("runs\n     seed  note\n123456789  good\n        7", Text(table));
        Assert.Contains(">123456789</td>", Html(table));
        Assert.Contains(">good</td>", Html(set));
        Assert.Contains("123456789", Text(table.Select("seed > 10")));
        Assert.Contains(
            "[note] = \"good\"",
            Text(table.Rows[0]).Replace("\"note\"", "note", StringComparison.Ordinal)
                + Text(new { Row = table.Rows[0] }).Replace("\"note\"", "note", StringComparison.Ordinal));
        Assert.Contains("7", Text(new System.Data.DataView(table) { RowFilter = "seed < 10" }));
    }

    [Theory]
    [InlineData(2024, "2024")]
    [InlineData(3735928559L, "3735928559")]
    [InlineData(2024.0, "2024")]
    [InlineData(123456789.0, "123456789")]
    [InlineData(1234.5678, "1234.6")]
    [InlineData(-98765.0f, "-98765")]
    [InlineData(0.12345, "0.1235")]
    [InlineData(double.NaN, "NaN")]
    public void Format_NumberInATable_CanBeCopiedIntoCode(object number, string expected)
    {
        Assert.Contains($">{expected}</td>", Html(new[] { new { A = number } }));
        Assert.Equal($"A\n{expected}", string.Join('\n', Text(new[] { new { A = number } }).Split('\n').Select(line => line.Trim())));
    }

    [Fact]
    public void Format_AsynchronousSequenceThatNeverGoesOn_SaysSoAfterAWhile() => Assert.Contains("[0, (TimeoutException: no further item", Text(Stuck()));

    private static async IAsyncEnumerable<int> Later(int count)
    {
        for (var i = 0; i < count; i++)
        {
            await Task.Yield();
            yield return i;
        }

        _ = count >= 0 ? 0 : throw new InvalidOperationException("not now");
    }

    private static async IAsyncEnumerable<int> Stuck()
    {
        yield return 0;
        await new TaskCompletionSource().Task;
    }

    [Fact]
    public void Format_ObjectWithProperties_HasATableOfThem()
    {
        var html = Html(new { A = 1, B = "<i>" });
        Assert.Contains(">A</td>", html);
        Assert.Contains("&lt;i&gt;", html);
        Assert.Null(Html(new Version(1, 2)));
    }

    [Fact]
    public void Format_DataFrame_ReadsOnlyWhatItShows()
    {
        var frame = new DataFrame(Enumerable.Range(0, 50).Select(i => new Int32DataFrameColumn($"c{i}", 1_000_000)));
        frame.Columns[0][3] = 12345;
        var bundle = DisplayFormatter.Format(frame);
        Assert.Contains("first 40 of 1,000,000 rows, first 20 of 50 columns", bundle.Text(MimeTypes.Html));
        Assert.Contains("12345", bundle.Text(MimeTypes.PlainText));
        Assert.DoesNotContain("c20", bundle.Text(MimeTypes.Html));
    }

    [Fact]
    public void Format_ValueThatHoldsItself_Ends()
    {
        var node = new Node { Name = "a" };
        node.Next = node;
        Assert.Equal("Node { Name = \"a\", Next = (the same Node again) }", Text(node));
        var list = new List<object>();
        list.Add(list);
        Assert.Equal("[(the same List<object> again)]", Text(list));
        Assert.Contains("again", Html(new[] { node })!);
    }

    [Fact]
    public void Format_DeepAndWideValues_StayBounded()
    {
        object deep = 1;
        for (var i = 0; i < 10_000; i++)
        {
            deep = new[] { deep };
        }

        Assert.Equal("[[[[object[] […]]]]]", Text(deep));
        var wide = Enumerable.Repeat(Enumerable.Repeat(Enumerable.Repeat(Enumerable.Repeat("x", 1000), 1000), 1000), 1000);
        Assert.InRange(Text(wide).Length, 1_000, 20_001);
    }

    [Fact]
    public void Format_HugeString_IsCutAndSaysSo()
    {
        var text = Text(new string('x', 100_000_000));
        Assert.InRange(text.Length, 10_000, 20_001);
        Assert.EndsWith("… (100,000,000 characters in all)", text);
    }

    [Fact]
    public void Format_HostileTexts_StayText()
    {
        foreach (var hostile in Some.HostileTexts)
        {
            Assert.Null(Html(hostile));
            foreach (var value in (object[])
            [
                new[] { new { Name = hostile } },
                new { Name = hostile },
                new Dictionary<string, object> { [hostile] = new[] { hostile } },
            ])
            {
                Some.AssertHarmless(Html(value)!);
            }
        }
    }

    [Fact]
    public void Format_Tensors_ShowValuesOrStatisticsAndLeaveThemAlone()
    {
        using var small = torch.tensor(new[] { 1f, 2f }, requires_grad: true);
        Assert.Contains("2", Text(small));
        using var large = torch.arange(0, 10_001, dtype: torch.ScalarType.Float32);
        Assert.Equal("[10001], type = Float32, device = cpu\nmean = 5,000, std = 2,887.2, min = 0, max = 10,000", Text(large));
        using var half = torch.full(2000, 300, dtype: torch.ScalarType.Float16);
        half[0] = float.NaN;
        Assert.Equal("[2000], type = Float16, device = cpu\nmean = 300, std = 0, min = 300, max = 300, 1 not finite", Text(half));
        Assert.Contains("[10001], type = Float32", Text(new { Weights = large }));
        Assert.Equal(10_001, large.numel());
        var gone = torch.ones(3);
        gone.Dispose();
        Assert.Equal("a disposed tensor", Text(gone));
    }

    [Fact]
    public void Format_SkiaPictures_AreShown()
    {
        using var bitmap = new SKBitmap(4, 4);
        bitmap.Erase(new SKColor(255, 0, 0, 128));
        using var image = SKImage.FromBitmap(bitmap);
        foreach (var picture in (object[])[bitmap, image])
        {
            var png = Convert.FromBase64String(DisplayFormatter.Format(picture).Text(MimeTypes.Png)!);
            Assert.Equal((255, 127, 127), RgbImage.Decode(png, "picture")[1, 1]);
        }
    }

    [Fact]
    public void Format_EndlessPictures_ShowsTheFirst()
    {
        var image = Some.Image();
        IEnumerable<RgbImage> Pictures()
        {
            while (true)
            {
                yield return image;
            }
        }

        Assert.Equal(100, DisplayFormatter.Format(Pictures()).Text(MimeTypes.Html)!.Split("<img").Length - 1);
    }

    [Fact]
    public void Limit_TooLargeContents_AreDroppedWithANoteAndTextStays()
    {
        var bundle = MimeBundle.FromText("text").With(MimeTypes.Html, new string('x', 600)).With(MimeTypes.Png, new byte[300]);
        Assert.Same(bundle, bundle.Limit(1_000));
        var smaller = bundle.Limit(500);
        Assert.StartsWith("text\nLeft out because", smaller.Text(MimeTypes.PlainText));
        Assert.Null(smaller.Text(MimeTypes.Html));
        Assert.NotNull(smaller.Text(MimeTypes.Png));
        Assert.Contains("Left out because", bundle.Limit(100).Text(MimeTypes.Html));
        Assert.Equal([MimeTypes.Html, MimeTypes.PlainText], bundle.Limit(100).Types.Order());
        Assert.InRange(MimeBundle.FromText(new string('x', 1_000_000)).Limit().Text(MimeTypes.PlainText)!.Length, 100_000, 100_100);
    }

    [Fact]
    public void Format_DisplayOfManyMegabytes_StaysUnderTheLimit()
    {
        var noise = new byte[3 * 2000 * 2000];
        new Random(1).NextBytes(noise);
        var bundle = DisplayFormatter.Format(new RgbImage(2000, 2000, noise));
        Assert.InRange(bundle.ToJson().ToJsonString().Length, 1, MimeBundle.MostBytes + 100_000);
        Assert.Contains("image/png (", bundle.Text(MimeTypes.PlainText));
        Assert.Contains("data:image/jpeg", bundle.Text(MimeTypes.Html));
    }

    private static string Text(object value) => DisplayFormatter.Format(value).Text(MimeTypes.PlainText)!;

    private static string? Html(object value) => DisplayFormatter.Format(value).Text(MimeTypes.Html);

    private static IEnumerable<int> Broken()
    {
        yield return 1;
        throw new InvalidOperationException("no more");
    }

    private static IEnumerable<int> Endless()
    {
        for (var i = 0; ; i++)
        {
            yield return i;
        }
    }

    private sealed record Label(string Text);

    private sealed record Point(int X, Label Name);

    private struct Pair
    {
        public int Left;
        public int Right;
    }

    private sealed class Faulty
    {
        public int Bad => throw new InvalidOperationException("no");

        public int Good => 1;
    }

    private sealed class FaultyText
    {
        public override string ToString() => throw new InvalidOperationException("no text");
    }

    private sealed record Node
    {
        public string Name { get; init; } = "";

        public Node? Next { get; set; }
    }

    private class Base
    {
        public int Id { get; init; }
    }

    private sealed class Derived : Base
    {
        public int More { get; init; }
    }
}
