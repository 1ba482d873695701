using System.Collections;
using System.Globalization;
using System.Runtime.CompilerServices;
using System.Text;
using System.Text.Json;
using System.Text.Json.Nodes;
using TorchSharp;

namespace LoraNotebooks.Interactive;

/// <summary>Any value as text, of bounded length whatever the value is.</summary>
internal sealed class ValueText
{
    /// <summary>The most items of a sequence that are taken: 100.</summary>
    public const int MostItems = 100;

    private const int MostDepth = 4;
    private const int MostMembers = 20;
    private const int MostBytes = 32;
    private const int MostInnerText = 500;

    private readonly StringBuilder _text = new();
    private readonly List<object> _owners = [];
    private readonly int _most;

    private ValueText(int most) => _most = most;

    /// <summary>The text of a value in at most <paramref name="most"/> characters and a note of what is left out.</summary>
    public static string Of(object? value, int most) => Written(most, writer => writer.Write(value, 0));

    /// <summary>The text of a sequence of which the first items are taken already.</summary>
    public static string Of(IEnumerable sequence, Sample sample, int most) => Written(most, writer =>
    {
        writer._owners.Add(sequence);
        writer.WriteItems(sample, 0);
    });

    /// <summary>
    /// The text of a value in a cell of a table: one line, figures rounded for the
    /// eye, without marks between their digits, so that they can be copied into code.
    /// </summary>
    public static string Cell(object? value, int most) => Line(
        value switch
        {
            null => "",
            string text => text,
            double number => Numbers.Plain(number),
            float number => Numbers.Plain(number),
            byte[] or JsonNode or Array { Rank: > 1 } => Written(most, writer => writer.Write(value, 1)),
            IEnumerable items when !Contents.IsJsonToken(value.GetType()) => Items(items, most),
            _ => Written(most, writer => writer.Write(value, 1)),
        },
        most);

    /// <summary>Text in one line of at most <paramref name="most"/> characters; line ends and control characters become spaces.</summary>
    public static string Line(string text, int most)
    {
        var cut = text.Length > most ? string.Concat(text.AsSpan(0, most), "…") : text;
        return string.Concat(cut.ReplaceLineEndings(" ").Select(c => char.IsControl(c) ? ' ' : c));
    }

    /// <summary>Whether a type's author wrote its <c>ToString</c>. What the compiler writes for records follows references without end.</summary>
    public static bool SpeaksForItself(Type type)
    {
        var own = type.GetMethod(nameof(ToString), Type.EmptyTypes);
        return own is not null && own.DeclaringType != typeof(object) && own.DeclaringType != typeof(ValueType)
            && !own.IsDefined(typeof(CompilerGeneratedAttribute), inherit: false) && !TypeNames.IsAnonymous(type);
    }

    private bool IsFull => _text.Length > _most;

    private static string Written(int most, Action<ValueText> write)
    {
        var writer = new ValueText(most);
        write(writer);
        return writer.IsFull ? writer._text.ToString(0, most) + "…" : writer._text.ToString();
    }

    private static string Items(IEnumerable items, int most)
    {
        var sample = Sample.Of(items, MostItems);
        var text = new StringBuilder();
        foreach (var item in sample.Items)
        {
            text.Append(text.Length == 0 ? "" : ", ")
                .Append(item is IEnumerable and not string ? Written(most, writer => writer.Write(item, 1)) : Cell(item, most));
            if (text.Length > most)
            {
                break;
            }
        }

        return text.Append(sample.HasMore ? ", …" : "").ToString();
    }

    private void Write(object? value, int depth)
    {
        if (IsFull)
        {
            return;
        }

        try
        {
            switch (value is null ? null : Contents.Of(value))
            {
                case null: Add("null"); break;
                case string text: AddText(text, depth, '"'); break;
                case char letter: AddText(letter.ToString(), depth, '\''); break;
                case bool truth: Add(truth ? "true" : "false"); break;
                case Fault fault: Add(fault.ToString()); break;
                case torch.Tensor tensor: Add(TensorText.Of(tensor, isInner: depth > 0)); break;
                case Type type: Add(TypeNames.Of(type)); break;
                case Delegate function: Add($"{TypeNames.Of(function.GetType())} {function.Method.Name}"); break;
                case Exception error: Add(depth == 0 ? error.ToString() : new Fault(error).ToString()); break;
                case Task task: Add(TaskText(task)); WriteResult(task, depth); break;
                case Stream stream: Add(StreamText(stream)); break;
                case byte[] bytes:
                    Add($"byte[{bytes.Length}] {Convert.ToHexString(bytes, 0, Math.Min(bytes.Length, MostBytes))}{(bytes.Length > MostBytes ? "…" : "")}");
                    break;
                case object token when Contents.IsJsonToken(token.GetType()): Add(token.ToString()); break;
                case Enum member: Add(EnumText(member)); break;
                case JsonNode or JsonElement: Add(value!.ToString()); break;
                case JsonDocument document: Add(document.RootElement.ToString()); break;
                case DateTime time:
                    Add(time.ToString("yyyy-MM-dd HH:mm:ss.FFFFFFF", CultureInfo.InvariantCulture) + (time.Kind == DateTimeKind.Utc ? "Z" : ""));
                    break;
                case DateTimeOffset time: Add(time.ToString("yyyy-MM-dd HH:mm:ss.FFFFFFF zzz", CultureInfo.InvariantCulture)); break;
                case DateOnly date: Add(date.ToString("yyyy-MM-dd", CultureInfo.InvariantCulture)); break;
                case TimeOnly time: Add(time.ToString("HH:mm:ss.FFFFFFF", CultureInfo.InvariantCulture)); break;
                case IFormattable number: Add(number.ToString(null, CultureInfo.InvariantCulture)); break;
                case object held: WriteParts(held, depth); break;
            }
        }
        catch (Exception error)
        {
            Add(new Fault(error).ToString());
        }
    }

    // What holds other values: it may hold itself.
    private void WriteParts(object value, int depth)
    {
        if (_owners.Exists(owner => ReferenceEquals(owner, value)))
        {
            Add($"(the same {TypeNames.Of(value.GetType())} again)");
            return;
        }

        _owners.Add(value);
        switch (value)
        {
            case ITuple tuple: WriteList("(", ")", Enumerable.Range(0, tuple.Length).Select(i => tuple[i]), depth); break;
            case DictionaryEntry entry: WritePair(entry.Key, entry.Value, depth); break;
            case IEnumerable when depth >= MostDepth: Add($"{TypeNames.Of(value.GetType())} […]"); break;
            case IEnumerable sequence: WriteItems(Sample.Of(sequence, MostItems), depth); break;
            default: WriteObject(value, depth); break;
        }

        _owners.RemoveAt(_owners.Count - 1);
    }

    private void WriteItems(Sample sample, int depth)
    {
        var rest = sample.HasMore ? sample.Count is { } count ? $", … ({Numbers.Count(count)} in all)" : ", …" : "";
        WriteList("[", rest + "]", sample.Items, depth);
    }

    private void WriteList(string open, string close, IEnumerable<object?> items, int depth)
    {
        Add(open);
        var isFirst = true;
        foreach (var item in items)
        {
            Add(isFirst ? "" : ", ");
            Write(item, depth + 1);
            isFirst = false;
        }

        Add(close);
    }

    private void WritePair(object? key, object? value, int depth)
    {
        Add("[");
        Write(key, depth + 1);
        Add("] = ");
        Write(value, depth + 1);
    }

    private void WriteObject(object value, int depth)
    {
        var type = value.GetType();
        var members = Members.Of(type);
        if (TypeNames.IsPair(type))
        {
            WritePair(members.Single(m => m.Name == "Key").Read(value), members.Single(m => m.Name == "Value").Read(value), depth);
        }
        else if (SpeaksForItself(type))
        {
            Add(value.ToString());
        }
        else if (members.Count == 0 || depth >= MostDepth)
        {
            Add(members.Count == 0 ? TypeNames.Of(type) : $"{TypeNames.Of(type)} {{ … }}");
        }
        else
        {
            Add($"{TypeNames.Of(type)} {{ ");
            for (var i = 0; i < Math.Min(members.Count, MostMembers); i++)
            {
                Add($"{(i == 0 ? "" : ", ")}{members[i].Name} = ");
                Write(members[i].Read(value), depth + 1);
            }

            Add(members.Count > MostMembers ? $", … ({members.Count} in all) }}" : " }");
        }
    }

    private void WriteResult(Task task, int depth)
    {
        // The type of an async method's task is an inner one; its base says what it returns.
        for (var type = task.GetType(); task.IsCompletedSuccessfully && type is not null; type = type.BaseType)
        {
            if (type.IsGenericType && type.GetGenericTypeDefinition() == typeof(Task<>) && type.GetGenericArguments()[0].Name != "VoidTaskResult")
            {
                Add(": ");
                Write(type.GetProperty(nameof(Task<>.Result))!.GetValue(task), depth + 1);
                return;
            }
        }
    }

    private static string TaskText(Task task) => task switch
    {
        { IsFaulted: true } => $"Task, failed {new Fault(task.Exception!.InnerException ?? task.Exception)}",
        { IsCanceled: true } => "Task, cancelled",
        { IsCompleted: true } => "Task, completed",
        _ => "Task, not yet completed",
    };

    // A comma would look like another item of a list.
    private static string EnumText(Enum value) => value.ToString().Replace(", ", " | ", StringComparison.Ordinal);

    private static string StreamText(Stream stream)
    {
        var name = stream is FileStream file ? $"{TypeNames.Of(stream.GetType())} {file.Name}" : TypeNames.Of(stream.GetType());
        return stream.CanSeek
            ? $"{name}, at {Numbers.Count(stream.Position)} of {Numbers.Of(stream.Length, "byte")}"
            : stream.CanRead || stream.CanWrite ? name : $"{name}, closed";
    }

    private void AddText(string text, int depth, char quote)
    {
        if (depth == 0)
        {
            AddLong(text, _most);
            return;
        }

        Add(quote.ToString());
        AddLong(text, MostInnerText);
        Add(quote.ToString());
    }

    private void AddLong(string text, int most) =>
        Add(text.Length <= most ? text : $"{text.AsSpan(0, Math.Max(0, most - 40))}… ({Numbers.Count(text.Length)} characters in all)");

    private void Add(string? text) => _text.Append(text);
}
