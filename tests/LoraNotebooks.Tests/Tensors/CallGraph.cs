using System.Collections.Immutable;
using System.Reflection;
using System.Reflection.Emit;
using System.Reflection.Metadata;
using System.Reflection.Metadata.Ecma335;
using System.Reflection.PortableExecutable;

namespace LoraNotebooks.Tests.Tensors;

/// <summary>Which method calls which, read from an assembly's IL. A method is called <c>Namespace.Type+Nested::Name(parameters' types)</c>.</summary>
internal sealed class CallGraph
{
    private static readonly Dictionary<short, OpCode> OpCodesByValue = typeof(OpCodes).GetFields(BindingFlags.Public | BindingFlags.Static)
        .Select(static field => (OpCode)field.GetValue(null)!).ToDictionary(static code => code.Value);

    private readonly MetadataReader _metadata;
    private readonly TypeNames _types = new();

    private CallGraph(PEReader image)
    {
        _metadata = image.GetMetadataReader();
        foreach (var handle in _metadata.MethodDefinitions)
        {
            var address = _metadata.GetMethodDefinition(handle).RelativeVirtualAddress;
            Calls[Name(handle)!] = address == 0 ? [] : [.. MethodsIn(image.GetMethodBody(address).GetILBytes()!).Select(Name).OfType<string>().Distinct()];
        }
    }

    /// <summary>Of each method the ones that its body calls, constructs with, or makes into delegates.</summary>
    public Dictionary<string, string[]> Calls { get; } = [];

    /// <summary>Reads an assembly's file.</summary>
    public static CallGraph Of(string path)
    {
        using var image = new PEReader(File.OpenRead(path));
        return new(image);
    }

    private static IEnumerable<EntityHandle> MethodsIn(byte[] il)
    {
        for (var at = 0; at < il.Length;)
        {
            var code = OpCodesByValue[il[at] == 0xfe ? unchecked((short)(0xfe00 | il[at + 1])) : il[at]];
            at += code.Size;
            if (code.OperandType is OperandType.InlineMethod)
            {
                yield return MetadataTokens.EntityHandle(BitConverter.ToInt32(il, at));
            }

            at += code.OperandType switch
            {
                OperandType.InlineNone => 0,
                OperandType.ShortInlineBrTarget or OperandType.ShortInlineI or OperandType.ShortInlineVar => 1,
                OperandType.InlineVar => 2,
                OperandType.InlineI8 or OperandType.InlineR => 8,
                OperandType.InlineSwitch => 4 + 4 * BitConverter.ToInt32(il, at),
                _ => 4,
            };
        }
    }

    private string? Name(EntityHandle handle)
    {
        switch (handle.Kind)
        {
            case HandleKind.MethodDefinition:
                var method = _metadata.GetMethodDefinition((MethodDefinitionHandle)handle);
                return Name(_types.GetTypeFromDefinition(_metadata, method.GetDeclaringType(), 0), method.Name, method.DecodeSignature(_types, null));
            case HandleKind.MethodSpecification:
                return Name(_metadata.GetMethodSpecification((MethodSpecificationHandle)handle).Method);
            default:
                var member = _metadata.GetMemberReference((MemberReferenceHandle)handle);
                var type = member.Parent.Kind switch
                {
                    HandleKind.TypeReference => _types.GetTypeFromReference(_metadata, (TypeReferenceHandle)member.Parent, 0),
                    HandleKind.TypeDefinition => _types.GetTypeFromDefinition(_metadata, (TypeDefinitionHandle)member.Parent, 0),
                    HandleKind.TypeSpecification => _types.GetTypeFromSpecification(_metadata, null, (TypeSpecificationHandle)member.Parent, 0),
                    _ => null,
                };
                return type is null ? null : Name(type.Split('<')[0], member.Name, member.DecodeMethodSignature(_types, null));
        }
    }

    private string Name(string type, StringHandle name, MethodSignature<string> signature) =>
        $"{type}::{_metadata.GetString(name)}({string.Join(", ", signature.ParameterTypes)})";

    private sealed class TypeNames : ISignatureTypeProvider<string, object?>
    {
        public string GetTypeFromDefinition(MetadataReader reader, TypeDefinitionHandle handle, byte rawTypeKind)
        {
            var type = reader.GetTypeDefinition(handle);
            var outer = type.GetDeclaringType() is { IsNil: false } declaring ? GetTypeFromDefinition(reader, declaring, 0) : null;
            return Join(reader, outer, type.Namespace, type.Name);
        }

        public string GetTypeFromReference(MetadataReader reader, TypeReferenceHandle handle, byte rawTypeKind)
        {
            var type = reader.GetTypeReference(handle);
            var isNested = type.ResolutionScope.Kind == HandleKind.TypeReference;
            var outer = isNested ? GetTypeFromReference(reader, (TypeReferenceHandle)type.ResolutionScope, 0) : null;
            return Join(reader, outer, type.Namespace, type.Name);
        }

        public string GetTypeFromSpecification(MetadataReader reader, object? genericContext, TypeSpecificationHandle handle, byte rawTypeKind) =>
            reader.GetTypeSpecification(handle).DecodeSignature(this, genericContext);

        public string GetPrimitiveType(PrimitiveTypeCode typeCode) => typeCode.ToString();

        public string GetSZArrayType(string elementType) => elementType + "[]";

        public string GetArrayType(string elementType, ArrayShape shape) => $"{elementType}[{new string(',', shape.Rank - 1)}]";

        public string GetByReferenceType(string elementType) => elementType + "&";

        public string GetPointerType(string elementType) => elementType + "*";

        public string GetPinnedType(string elementType) => elementType;

        public string GetFunctionPointerType(MethodSignature<string> signature) => "function*";

        public string GetGenericInstantiation(string genericType, ImmutableArray<string> typeArguments) => $"{genericType}<{string.Join(", ", typeArguments)}>";

        public string GetGenericMethodParameter(object? genericContext, int index) => "!!" + index;

        public string GetGenericTypeParameter(object? genericContext, int index) => "!" + index;

        public string GetModifiedType(string modifier, string unmodifiedType, bool isRequired) => unmodifiedType;

        private static string Join(MetadataReader reader, string? outer, StringHandle space, StringHandle name) =>
            (outer is not null ? outer + "+" : space.IsNil ? "" : reader.GetString(space) + ".") + reader.GetString(name);
    }
}
