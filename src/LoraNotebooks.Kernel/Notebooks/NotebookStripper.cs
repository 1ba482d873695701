using System.Text;
using System.Text.Json;

namespace LoraNotebooks.Kernel.Notebooks;

/// <summary>
/// Takes what an execution left out of the text of a notebook: outputs, execution counts, the times that Jupyter notes in
/// <c>execution</c> and <c>ExecuteTime</c> of a cell's metadata, the mark of <see cref="NotebookDrift"/>, and the machine that made the outputs.
/// </summary>
/// <remarks>
/// Works on the bytes, so that every other byte stays, however the file is laid out. Whether a cell is folded or its outputs scroll
/// (<c>collapsed</c>, <c>scrolled</c>) is the author's choice and stays.
/// </remarks>
internal static class NotebookStripper
{
    private static readonly string[] VolatileMetadata = ["execution", "ExecuteTime"];

    /// <summary>The notebook without traces of an execution; the same array if there are none.</summary>
    /// <param name="notebook">UTF-8 text that <see cref="Notebook.Load"/> accepts.</param>
    public static byte[] Strip(byte[] notebook)
    {
        var edits = new List<Edit>();
        var start = notebook.AsSpan().StartsWith("\uFEFF"u8) ? 3 : 0;
        foreach (var member in Members(notebook, start))
        {
            switch (member.Name)
            {
                case "metadata":
                    Remove(notebook, member, [Notebook.OwnMetadata], edits);
                    break;
                case "cells":
                    foreach (var cell in Elements(notebook, member.ValueStart))
                    {
                        StripCell(notebook, cell, edits);
                    }

                    break;
            }
        }

        return edits.Count == 0 ? notebook : Apply(notebook, edits);
    }

    private static void StripCell(byte[] notebook, int cell, List<Edit> edits)
    {
        foreach (var member in Members(notebook, cell))
        {
            switch (member.Name)
            {
                case "metadata":
                    Remove(notebook, member, VolatileMetadata, edits);
                    break;
                case "outputs" when Elements(notebook, member.ValueStart).Count > 0:
                    edits.Add(new Edit(member.ValueStart, member.ValueEnd, "[]"));
                    break;
                case "execution_count" when !notebook.AsSpan(member.ValueStart, member.ValueEnd - member.ValueStart).SequenceEqual("null"u8):
                    edits.Add(new Edit(member.ValueStart, member.ValueEnd, "null"));
                    break;
            }
        }
    }

    /// <summary>Takes members out of an object, each with one comma and the space up to its neighbour.</summary>
    private static void Remove(byte[] notebook, Member parent, string[] names, List<Edit> edits)
    {
        var members = Members(notebook, parent.ValueStart);
        var lastKept = members.FindLastIndex(member => !names.Contains(member.Name));
        if (lastKept < 0 && members.Count > 0)
        {
            edits.Add(new Edit(parent.ValueStart, parent.ValueEnd, "{}"));
            return;
        }

        for (var i = 0; i < lastKept; i++)
        {
            if (names.Contains(members[i].Name))
            {
                edits.Add(new Edit(members[i].NameStart, members[i + 1].NameStart, ""));
            }
        }

        if (lastKept < members.Count - 1)
        {
            edits.Add(new Edit(members[lastKept].ValueEnd, members[^1].ValueEnd, ""));
        }
    }

    private static byte[] Apply(byte[] notebook, List<Edit> edits)
    {
        using var stripped = new MemoryStream(notebook.Length);
        var at = 0;
        foreach (var edit in edits.OrderBy(edit => edit.Start))
        {
            stripped.Write(notebook, at, edit.Start - at);
            stripped.Write(Encoding.UTF8.GetBytes(edit.Replacement));
            at = edit.End;
        }

        stripped.Write(notebook, at, notebook.Length - at);
        return stripped.ToArray();
    }

    /// <summary>The members of the object that starts at an offset; none if it is no object.</summary>
    private static List<Member> Members(byte[] json, int start)
    {
        var members = new List<Member>();
        var reader = new Utf8JsonReader(json.AsSpan(start));
        reader.Read();
        if (reader.TokenType != JsonTokenType.StartObject)
        {
            return members;
        }

        while (reader.Read() && reader.TokenType == JsonTokenType.PropertyName)
        {
            var (name, nameStart) = (reader.GetString()!, start + (int)reader.TokenStartIndex);
            reader.Read();
            var valueStart = start + (int)reader.TokenStartIndex;
            reader.Skip();
            members.Add(new Member(name, nameStart, valueStart, start + (int)reader.BytesConsumed));
        }

        return members;
    }

    /// <summary>Where the elements of the list that starts at an offset start; none if it is no list.</summary>
    private static List<int> Elements(byte[] json, int start)
    {
        var elements = new List<int>();
        var reader = new Utf8JsonReader(json.AsSpan(start));
        reader.Read();
        if (reader.TokenType != JsonTokenType.StartArray)
        {
            return elements;
        }

        while (reader.Read() && reader.TokenType != JsonTokenType.EndArray)
        {
            elements.Add(start + (int)reader.TokenStartIndex);
            reader.Skip();
        }

        return elements;
    }

    private readonly record struct Member(string Name, int NameStart, int ValueStart, int ValueEnd);

    private readonly record struct Edit(int Start, int End, string Replacement);
}
