using System.Collections;
using System.Data;
using System.Text.Json;
using System.Text.Json.Nodes;
using TorchSharp;

namespace LoraNotebooks.Interactive.Tests;

/// <summary>Which values become tables, and of what size.</summary>
public class ValueTableTests
{
    [Theory]
    [InlineData(40, 1, "40 rows")]
    [InlineData(41, 1, "first 40 of 41 rows")]
    [InlineData(101, 1, "first 40 of 101 rows")]
    [InlineData(2, 20, "2 rows")]
    [InlineData(2, 21, "first 20 of 21 columns")]
    [InlineData(41, 21, "first 40 of 41 rows, first 20 of 21 columns")]
    [InlineData(1, 1_001, "first 20 of 1,000 columns")] // more are not kept
    public void Format_Matrix_ShowsItsFirstRowsAndColumns(int rows, int columns, string facts)
    {
        var matrix = new int[rows, columns];
        for (var i = 0; i < rows * columns; i++)
        {
            matrix[i / columns, i % columns] = i;
        }

        var (left, top) = (Math.Min(columns, 20), Math.Min(rows, 40));
        Assert.Equal(
            [
                $"int[,] {rows} × {columns}", facts, .. Enumerable.Range(0, left).Select(column => $"{column}"),
                .. Enumerable.Range(0, top).SelectMany(row => Enumerable.Range(0, left).Select(column => $"{row * columns + column}")),
            ],
            Words(matrix));
    }

    [Fact]
    public void Format_MatrixThatBeginsElsewhere_ShowsItsValues()
    {
        var matrix = Array.CreateInstance(typeof(string), [2, 1], [5, -3]);
        matrix.SetValue("a", 5, -3);
        matrix.SetValue("b", 6, -3);
        Assert.Equal(["string[,] 2 × 1", "2 rows", "0", "a", "b"], Words(matrix));
    }

    [Theory]
    [InlineData(100, "first 40 of 100 rows")]
    [InlineData(40, "40 rows")]
    [InlineData(41, "first 40 of 41 rows")]
    [InlineData(1, "1 row")]
    public void Format_Objects_ShowsAColumnForEachMemberAndItsFirstRows(int count, string facts)
    {
        var words = Words(Enumerable.Range(0, count).Select(i => new { A = i, B = $"b{i}" }).ToArray());
        Assert.Equal([facts, "A", "B", .. Enumerable.Range(0, Math.Min(40, count)).SelectMany(i => new[] { $"{i}", $"b{i}" })], words);
    }

    [Fact]
    public void Format_ItemsThatAreMissingOrFailed_HaveTheirPlaceInTheFirstColumn()
    {
        IEnumerable<object?> Items()
        {
            yield return new { A = 1, B = "x" };
            yield return null;
            throw new InvalidOperationException("no more");
        }

        Assert.Equal(["3 rows", "A", "B", "1", "x", "null", "(InvalidOperationException: no more)"], Words(Items()));
        IEnumerable<object?> Named()
        {
            yield return new Dictionary<string, object?> { ["A"] = 1 };
            yield return null;
            yield return new Dictionary<string, object?> { ["B"] = 2, ["A"] = 3 };
            throw new InvalidOperationException("no more");
        }

        Assert.Equal(["4 rows", "A", "B", "1", "null", "3", "2", "(InvalidOperationException: no more)"], Words(Named()));
        foreach (var text in new[] { Text(Items()), Text(Named()) })
        {
            Assert.Contains("\nnull", text);
            Assert.Contains("\n(InvalidOperationException: no more)", text);
        }
    }

    [Fact]
    public void Format_ItemsOfSeveralTypes_ShowWhatTheyHaveInCommon()
    {
        Assert.Equal(["2 rows", "Id", "1", "2"], Words(new object[] { new One { Id = 1 }, new Other { Id = 2 } }));
        Assert.Equal(["2 rows", "Id", "1", "2"], Words(new object[] { new Base { Id = 1 }, new One { Id = 2 } }));
        Assert.Null(Html(new object[] { new One(), new { A = 1 } }));
        Assert.Null(Html(new object[] { new Left(), new Right() }));
        Assert.Null(Html(new object[] { new Empty() }));
    }

    [Fact]
    public void Format_Entries_HaveKeyAndValueAlone()
    {
        Assert.Equal(["1 row", "Key", "Value", "a", "1"], Words(new[] { KeyValuePair.Create("a", 1) }));
        Assert.Equal(["1 row", "Key", "Value", "7", "b"], Words(new Hashtable { [7] = "b" }));
        Assert.Equal(["a", "1", "b", "2"], Words(new Dictionary<string, int> { ["a"] = 1, ["b"] = 2 })[^4..]);
    }

    [Fact]
    public void Format_TuplesOfAnyLength_HaveAColumnForEachItem()
    {
        Assert.Equal(Expected(7), Words(new[] { (1, 2, 3, 4, 5, 6, 7) }));
        Assert.Equal(Expected(8), Words(new[] { (1, 2, 3, 4, 5, 6, 7, 8) }));
        Assert.Equal(Expected(15), Words(new[] { (1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15) }));

        static string[] Expected(int length) =>
            ["1 row", .. Enumerable.Range(1, length).Select(static i => $"Item{i}"), .. Enumerable.Range(1, length).Select(static i => $"{i}")];
    }

    [Fact]
    public void Format_DictionariesWithoutEntries_AreNoTable()
    {
        Dictionary<string, int>[] rows = [[], []];
        Assert.Equal((null, "[[], []]"), (Html(rows), Text(rows)));
    }

    [Fact]
    public void Format_OneObject_ShowsItsMembersUnderItsName()
    {
        Assert.Equal(["One", "More", "0", "Id", "7"], Words(new One { Id = 7 }));
        Assert.Equal(["A", "1"], Words(new { A = 1 }));
        Assert.Null(Html((1, 2)));
        Assert.Null(Html(new Empty()));
        var many = Words(new Many());
        Assert.Equal("Many", many[0]);
        Assert.Equal("first 40 of 41 rows", many[1]);
        Assert.Equal(82, many.Length);
    }

    [Fact]
    public void Format_RowsOfATable_ShowThoseThatAreLeft()
    {
        using var table = new DataTable();
        table.Columns.Add("n", typeof(int));
        for (var i = 0; i < 42; i++)
        {
            table.Rows.Add(i);
        }

        table.AcceptChanges();
        Assert.Equal(["first 40 of 42 rows", "n", "0"], Words(table)[..3]);
        Assert.Equal(["n", "41"], Words(table.Rows[41])[^2..]);
    }

    public static TheoryData<string> Scalars => [.. ScalarsByName.Keys];

    private static readonly Dictionary<string, object> ScalarsByName = new()
    {
        ["int"] = 1,
        ["truth"] = true,
        ["enum"] = DayOfWeek.Friday,
        ["text"] = "a",
        ["bytes"] = new byte[] { 1 },
        ["tensor"] = torch.zeros(2),
        ["token"] = Newtonsoft.Json.Linq.JObject.Parse("{\"a\": 1}"),
        ["element"] = JsonDocument.Parse("{\"a\": 1}").RootElement,
        ["document"] = JsonDocument.Parse("{\"a\": 1}"),
        ["node"] = JsonNode.Parse("{\"a\": 1}")!,
        ["time"] = DateTime.UnixEpoch,
        ["type"] = typeof(int),
        ["function"] = (Func<int>)(() => 1),
        ["error"] = new IOException("x"),
        ["task"] = Task.FromResult(1),
        ["stream"] = new MemoryStream(),
    };

    [Theory]
    [MemberData(nameof(Scalars))]
    public void Format_WhatALineSaysBetter_IsNoTable(string name)
    {
        var scalar = ScalarsByName[name];
        Assert.Null(Html(scalar));
        var list = Array.CreateInstance(scalar.GetType(), 2);
        list.SetValue(scalar, 0);
        list.SetValue(scalar, 1);
        Assert.Null(Html(list));
    }

    [Fact]
    public void Format_LongText_IsCutAtTwentyThousand()
    {
        Assert.Equal(20_000, Text(new string('x', 20_000)).Length);
        Assert.Equal($"{new string('x', 19_960)}… (20,001 characters in all)", Text(new string('x', 20_001)));
        Assert.Equal(20_001, Text(Enumerable.Repeat(new string('x', 400), 100)).Length);
    }

    private static string Text(object value) => DisplayFormatter.Format(value).Text(MimeTypes.PlainText)!;

    private static string? Html(object value) => DisplayFormatter.Format(value).Text(MimeTypes.Html);

    private static string[] Words(object value) => Some.Words(Html(value)!);

    private class Base
    {
        public int Id { get; init; }
    }

    private sealed class One : Base
    {
        public int More { get; init; }
    }

    private sealed class Other : Base;

    private struct Left
    {
        public int A { get; set; }
    }

    private struct Right
    {
        public int A { get; set; }
    }

    private sealed class Empty;

    private sealed class Many
    {
#pragma warning disable CS0649 // never set: what counts is that they are there
        public int A0, A1, A2, A3, A4, A5, A6, A7, A8, A9, B0, B1, B2, B3, B4, B5, B6, B7, B8, B9;
        public int C0, C1, C2, C3, C4, C5, C6, C7, C8, C9, D0, D1, D2, D3, D4, D5, D6, D7, D8, D9, E0;
#pragma warning restore CS0649
    }
}
