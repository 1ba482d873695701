using System.Text.Json.Nodes;
using LoraNotebooks.Tests.Models;

namespace LoraNotebooks.Tests.Foundation;

public sealed class PythonJsonTests
{
    [Theory]
    [InlineData("""{"a": Infinity, "b": [-Infinity, NaN], "c": "NaN Infinity"}""", """{"a": "Infinity", "b": ["-Infinity", "NaN"], "c": "NaN Infinity"}""")]
    [InlineData("""{"a\"": NaN, "b\\": NaN}""", """{"a\"": "NaN", "b\\": "NaN"}""")]
    [InlineData("""{"a": "never ends: NaN""", """{"a": "never ends: NaN""")]
    public void ToStandard_OfBareLiterals_QuotesThemOutsideOfTexts(string json, string expected) => Assert.Equal(expected, PythonJson.ToStandard(json));

    [Fact]
    public void Write_OfSuchLiterals_BringsThemBackBare()
    {
        var json = PythonJson.ParseObject("""{"max": Infinity, "min": -Infinity, "list": [NaN, 1.5], "text": "a: \"NaN\", é <b>", "last": NaN}""", "x");

        Assert.Equal(
            "{\n  \"max\": Infinity,\n  \"min\": -Infinity,\n  \"list\": [\n    NaN,\n    1.5\n  ],\n  \"text\": \"a: \\\"NaN\\\", é <b>\",\n"
                + "  \"last\": NaN\n}\n",
            PythonJson.Write(json));
    }

    [Theory]
    [InlineData("[1]", "the outermost value is something else.")]
    [InlineData("null", "the outermost value is something else.")]
    [InlineData("""{"a": 1, "a": 2}""", "a")]
    [InlineData("""{"a": {"b": 1, "b": 2}}""", "b")]
    [InlineData("""{"a": "\ud800"}""", "UTF-16")]
    [InlineData("""{"a": [{"b": ["\udc00"]}]}""", "UTF-16")]
    [InlineData("""{"a": 1""", "")]
    public void ParseObject_OfWhatIsNone_NamesTheSourceAndWhy(string json, string reason)
    {
        var message = Assert.Throws<InvalidDataException>(() => PythonJson.ParseObject(json, "the source")).Message;

        Assert.StartsWith("the source: expected a JSON object: ", message);
        Assert.Contains(reason, message);
    }

    [Fact]
    public void ReadObject_OfAFile_NamesItsPath()
    {
        using var folder = new TemporaryFolder();
        File.WriteAllText(folder.In("good.json"), """{"a": [1, true, null]}""");
        File.WriteAllText(folder.In("bad.json"), "[]");

        Assert.Equal("""{"a":[1,true,null]}""", PythonJson.ReadObject(folder.In("good.json")).ToJsonString());
        Assert.StartsWith(folder.In("bad.json") + ": ", Assert.Throws<InvalidDataException>(() => PythonJson.ReadObject(folder.In("bad.json"))).Message);
    }

    [Theory]
    [InlineData(0, "0.0")]
    [InlineData(-3, "-3.0")]
    [InlineData(0.25, "0.25")]
    public void Float_OfANumber_IsWrittenWithAPoint(double value, string expected) =>
        Assert.Equal(expected, new JsonArray(PythonJson.Float(value)).ToJsonString()[1..^1]);
}
